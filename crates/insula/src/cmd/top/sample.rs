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
}

impl Sample {
    /// Asks the daemon: two calls, however many instances there are.
    pub(super) async fn take(client: &Client) -> Result<Self, ClientError> {
        let (instances, metrics) = tokio::join!(client.instances(), client.metrics());
        let requests = match metrics {
            Ok(page) => requests(&page),
            // Not everybody who may list instances may read metrics.
            Err(ClientError::Problem(_)) => HashMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { time: Timestamp::now(), instances: instances?.instances, requests })
    }
}

/// The counters of requests of a metrics page, summed up by service.
fn requests(page: &str) -> HashMap<String, u64> {
    let mut sums = HashMap::new();
    for line in page.lines() {
        let Some((labels, value)) =
            line.strip_prefix("insula_requests_total{").and_then(|rest| rest.split_once("} "))
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
        assert_eq!(requests(page), HashMap::from([("a".to_owned(), 7), ("b".to_owned(), 1)]));
    }
}
