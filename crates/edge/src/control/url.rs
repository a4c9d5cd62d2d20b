//! Where things are reached.

use insula_spec::{InstanceName, ServiceName};

/// URL of the domain itself.
#[must_use]
pub fn apex_url(domain: &str, port: u16) -> String {
    format!("http://{domain}{}/", suffix(port))
}

/// URL of one instance.
#[must_use]
pub fn instance_url(domain: &str, port: u16, name: &InstanceName) -> String {
    format!("http://{}.{}.{domain}{}/", name.id, name.service, suffix(port))
}

/// URL of a service, where one of its versions answers.
#[must_use]
pub fn service_url(domain: &str, port: u16, service: &ServiceName) -> String {
    format!("http://{service}.{domain}{}/", suffix(port))
}

/// Port 80 goes without saying (RFC 9110, section 4.2.1).
fn suffix(port: u16) -> String {
    if port == 80 { String::new() } else { format!(":{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_port_than_80_is_written() {
        let name: InstanceName = "notes:alice".parse().unwrap();
        assert_eq!(instance_url("localhost", 8080, &name), "http://alice.notes.localhost:8080/");
        assert_eq!(instance_url("example.org", 80, &name), "http://alice.notes.example.org/");
        assert_eq!(service_url("localhost", 8080, &name.service), "http://notes.localhost:8080/");
        assert_eq!(apex_url("example.org", 80), "http://example.org/");
    }
}
