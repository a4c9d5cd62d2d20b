//! One look at the daemon.

use std::collections::HashMap;

use insula_api::{Client, ClientError, Summary, Timestamp};

/// What was seen at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) time: Timestamp,
    pub(super) instances: Vec<Summary>,
    /// Requests that are over, by service; empty where this client may not know.
    pub(super) requests: HashMap<String, u64>,
    /// Requests that wait for an instance, by service; empty where this client may not know.
    pub(super) waiting: HashMap<String, u64>,
}

impl Sample {
    /// Asks the daemon: two calls, however many instances there are.
    pub(super) async fn take(client: &Client) -> Result<Self, ClientError> {
        let (instances, metrics) = tokio::join!(client.instances(), client.metrics());
        let page = match metrics {
            Ok(page) => page,
            // Not everybody who may list instances may read metrics.
            Err(ClientError::Problem(_)) => String::new(),
            Err(error) => return Err(error),
        };
        let (requests, waiting) = (by_service(&page, REQUESTS), by_service(&page, WAITING));
        Ok(Self { time: Timestamp::now(), instances: instances?.instances, requests, waiting })
    }
}

/// Names of what is read of a metrics page.
const REQUESTS: &str = "insula_requests_total";
const WAITING: &str = "insula_requests_waiting";

/// Samples of one name of a metrics page, summed up by service.
fn by_service(page: &str, name: &str) -> HashMap<String, u64> {
    let mut sums = HashMap::new();
    for line in page.lines() {
        let Some((labels, value)) =
            line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')?.split_once("} "))
        else {
            continue;
        };
        let service = labels.split(',').find_map(|label| label.strip_prefix("service=\"")?.strip_suffix('"'));
        if let (Some(service), Ok(count)) = (service, value.parse::<u64>()) {
            *sums.entry(service.to_owned()).or_default() += count;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_a_service_are_summed_up() {
        let page = "# TYPE insula_requests_total counter\n\
                    insula_requests_total{service=\"a\",status=\"2xx\"} 5\n\
                    insula_requests_total{service=\"a\",status=\"5xx\"} 2\n\
                    insula_requests_total{service=\"b\",status=\"2xx\"} 1\n\
                    insula_requests_totals{service=\"b\"} 9\ninsula_requests_total{service=\"c\"} many\n";
        let found = HashMap::from([("a".to_owned(), 7), ("b".to_owned(), 1)]);
        assert_eq!(by_service(page, REQUESTS), found);
        assert_eq!(by_service(page, WAITING), HashMap::new());
    }
}
