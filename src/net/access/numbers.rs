//! What `/metrics` tells of keys, denials and admin actions.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::decision::Denial;

/// Of the whole server; no key is named.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub needs_keys: bool,
    pub keys: u64,
    pub denials: Vec<(Denial, u64)>,
    pub admin_actions: u64,
    pub key_file_failures: u64,
    pub limited_addresses: u64,
}

type NoLabels = [(&'static str, &'static str); 0];

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests turned away, by reason";
        let mut metric = encoder.encode_descriptor("access_denials", help, None, MetricType::Counter)?;
        for (denial, count) in &self.denials {
            let labels = [("reason", denial.name())];
            metric.encode_family(&labels)?.encode_counter::<NoLabels, u64, u64>(count, None)?;
        }
        let counters = [
            ("admin_actions", "Requests that steer the server or change its collections", self.admin_actions),
            ("key_file_failures", "Files of API keys that could not be taken up", self.key_file_failures),
        ];
        for (name, help, count) in counters {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabels, u64, u64>(&count, None)?;
        }
        let gauges = [
            ("api_keys_needed", "1 when requests need an API key", u64::from(self.needs_keys)),
            ("api_keys", "API keys in force", self.keys),
            ("limited_addresses", "Addresses with limits of their own", self.limited_addresses),
        ];
        for (name, help, value) in gauges {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&(value as i64))?;
        }
        Ok(())
    }
}
