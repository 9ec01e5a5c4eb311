//! `/metrics`: what every shard tells about itself, as Prometheus or OpenMetrics text.
//!
//! Records per sync is `kyrodb_log_records_total` over `kyrodb_log_commits_total`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Work, no_parameters};
use crate::net::access::caller::Permit;
use crate::net::access::numbers::Numbers;
use crate::net::parser::head::Head;
use crate::net::problem::Problem;
use crate::net::response::Response;
use crate::rmi::choose::Structure;
use crate::rmi::drift::Histogram;
use crate::shard::node::Node;
use crate::shard::stats::{LATENCY_BUCKETS, Latency, Phase, ShardStats};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn scrape(node: &Node, head: &Head<'_>, permit: Permit<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    let openmetrics =
        head.fields.accept().is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let (node, access) = (node.clone(), permit.access().numbers());
    Ok(Work::task(async move { Ok(render(node.stats().await, access, openmetrics)) }))
}

fn render(shards: Vec<ShardStats>, access: Numbers, openmetrics: bool) -> Response {
    let mut registry = Registry::with_prefix("kyrodb");
    registry.register_collector(Box::new(Shards(shards)));
    registry.register_collector(Box::new(access));
    let mut out = String::with_capacity(16 * 1024);
    text::encode(&mut out, &registry).expect("a string takes every character");
    if openmetrics {
        return Response::bytes(200, OPENMETRICS, out.into_bytes());
    }
    Response::bytes(200, PROMETHEUS, prometheus_text(&out).into_bytes())
}

/// The older text format: the type line names counters with their suffix and knows no `info`; units and
/// the end mark are not part of it.
fn prometheus_text(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap_or((declared, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            push_line(&mut out, &format!("# HELP {name}{suffix} {help}"));
            push_line(&mut out, &format!("# TYPE {name}{suffix} {kind}"));
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            push_line(&mut out, line);
        }
    }
    out
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

type Read = fn(&ShardStats) -> u64;

const COUNTERS: &[(&str, &str, Option<Unit>, Read)] = &[
    ("refused_requests", "Requests that the engine refused", None, |s| s.refused),
    ("forwarded_requests", "Requests that came from another core", None, |s| s.from_other_cores),
    ("log_commits", "Log blocks written", None, |s| s.log_commits),
    ("log_records", "Records written to the log", None, |s| s.log_records),
    ("log_written", "Bytes written to the log, padding included", Some(Unit::Bytes), |s| s.log_bytes),
    ("checkpoints", "Checkpoints finished", None, |s| s.checkpoints),
    ("checkpoint_failures", "Checkpoints that failed", None, |s| s.checkpoint_failures),
    ("checkpoint_written", "Bytes written by checkpoints", Some(Unit::Bytes), |s| s.checkpoint_bytes),
    ("cold_reads", "Point reads that had to read a run", None, |s| s.cold_reads),
    ("block_reads", "Blocks of runs read for point reads", None, |s| s.block_reads),
    ("value_reads", "Large values read from value files", None, |s| s.value_reads),
    ("damaged_reads", "Reads of runs that failed or met damage", None, |s| s.damaged_reads),
    ("cache_hits", "Point reads of runs answered from memory", None, |s| s.cache_hits),
    ("cache_misses", "Point reads that may be in a run and are not in memory", None, |s| s.cache_misses),
    ("rebuilt_indexes", "Runs whose index, filter or marks were made anew", None, |s| s.rebuilt_indexes),
    ("compactions", "Compactions begun", None, |s| s.compactions),
    ("compaction_failures", "Compactions that failed", None, |s| s.compaction_failures),
    ("compaction_read", "Bytes of runs that went into compactions", Some(Unit::Bytes), |s| {
        s.compaction_read_bytes
    }),
    ("compaction_written", "Bytes of runs that came out of compactions", Some(Unit::Bytes), |s| {
        s.compaction_written_bytes
    }),
    ("expired_records", "Records removed because their time to live was over", None, |s| s.expired_records),
    ("index_misses", "Lookups in indexes of runs for keys that are not there", None, |s| s.drift.misses()),
    ("turns", "Turns of the executor", None, |s| s.turns.turns),
    ("turn_stalls", "Turns of the executor over 2 ms of thread CPU", None, |s| s.turns.stalls),
];

const GAUGES: &[(&str, &str, Option<Unit>, Read)] = &[
    ("documents_indexed", "Documents that searches find", None, |s| s.documents.indexed),
    ("documents_loading_tablets", "Tablets whose documents are being read into their index", None, |s| {
        s.documents.loading_tablets
    }),
    ("documents_unlinked", "Vectors that wait for their links and are scanned", None, |s| {
        s.documents.unlinked
    }),
    ("documents_own_parts", "Parts of indexes that only this shard searches", None, |s| {
        s.documents.own_parts
    }),
    ("documents_shared_parts", "Parts of indexes that all shards search", None, |s| s.documents.shared_parts),
    ("documents_memory", "Memory of indexes over documents", Some(Unit::Bytes), |s| s.documents.memory_bytes),
    ("shard_serving", "1 while the shard takes reads and writes", None, |s| {
        u64::from(s.phase == Phase::Serving)
    }),
    ("shard_poisoned", "1 when the shard's log failed", None, |s| u64::from(s.phase == Phase::Poisoned)),
    ("disk_full", "1 while the shard refuses writes for want of disk", None, |s| u64::from(s.disk_full)),
    ("replayed_records", "Records replayed at start", None, |s| s.replayed_records),
    ("log_backlog", "Bytes of records that wait for the disk", Some(Unit::Bytes), |s| s.log_backlog_bytes),
    ("log_writes_in_flight", "Log writes under way", None, |s| s.log_writes_in_flight),
    ("log_segments", "Log segments kept", None, |s| s.log_segments),
    ("log_durable_lsn", "Highest log sequence number on stable storage", None, |s| s.durable_lsn.0),
    ("inbox_frames", "Requests from other cores that wait for an answer", None, |s| s.inbox_frames),
    ("records", "Visible records", None, |s| s.live_records),
    ("unsealed_size", "Keys and payloads of records that are in no run yet", Some(Unit::Bytes), |s| {
        s.live_bytes
    }),
    ("memory_used", "Estimated memory of the shard's data", Some(Unit::Bytes), |s| s.memory_bytes),
    ("memory_budget", "Memory that the shard may use", Some(Unit::Bytes), |s| s.memory_budget_bytes),
    ("memory_resident", "Keys, models and filters of runs", Some(Unit::Bytes), |s| s.resident_bytes),
    ("memory_cache", "Values of runs kept warm", Some(Unit::Bytes), |s| s.cache_bytes),
    ("runs", "Sorted runs kept", None, |s| s.runs),
    ("fresh_runs", "Sorted runs that no compaction has taken up", None, |s| s.fresh_runs),
    ("runs_size", "Bytes of the sorted runs", Some(Unit::Bytes), |s| s.run_bytes),
    ("value_files", "Files of large values", None, |s| s.value_files),
    ("value_files_size", "Bytes of the files of large values", Some(Unit::Bytes), |s| s.value_file_bytes),
    ("values_live", "Bytes of large values to which runs refer", Some(Unit::Bytes), |s| s.value_live_bytes),
];

type ReadLatency = fn(&ShardStats) -> &Latency;

const LATENCIES: &[(&str, &str, ReadLatency)] = &[
    ("write_latency", "From acceptance of a write to its acknowledgement", |s| &s.write_latency),
    ("log_commit_latency", "From submission of a log block to its completion", |s| &s.commit_latency),
];

const KINDS: &[(&str, Read)] =
    &[("get", |s| s.gets), ("put", |s| s.puts), ("delete", |s| s.deletes), ("scan", |s| s.scans)];

#[derive(Debug)]
struct Shards(Vec<ShardStats>);

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_upkeep(&mut encoder)?;
        for (name, help, unit, read) in COUNTERS {
            self.encode_counter(&mut encoder, (name, help, unit.as_ref()), read)?;
        }
        let paused =
            ("log_paused", "Time for which the log paused so that compaction keeps up", Some(&Unit::Seconds));
        self.encode_counter(&mut encoder, paused, |shard| shard.log_paused_us as f64 / 1e6)?;
        for (name, help, unit, read) in GAUGES {
            self.encode_gauge(&mut encoder, (name, help, unit.as_ref()), |shard| read(shard) as i64)?;
        }
        let longest =
            ("turn_cpu_max", "Thread CPU of the longest turn of the executor", Some(&Unit::Seconds));
        self.encode_gauge(&mut encoder, longest, |shard| shard.turns.cpu_ns_max as f64 / 1e9)?;
        self.encode_router(&mut encoder)?;
        for (name, help, read) in LATENCIES {
            self.encode_latency(&mut encoder, name, help, *read)?;
        }
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor("build", "The running version", None, MetricType::Info)?
            .encode_info(&version)
    }
}

type Named<'a> = (&'a str, &'a str, Option<&'a Unit>);

impl Shards {
    fn labelled(&self) -> impl Iterator<Item = (&ShardStats, String)> {
        self.0.iter().map(|shard| (shard, shard.shard.to_string()))
    }

    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests to the engine by kind";
        let mut metric = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (shard, id) in self.labelled() {
            for (kind, read) in KINDS {
                let labels = [("shard", id.as_str()), ("kind", kind)];
                metric.encode_family(&labels)?.encode_counter::<NoLabels, u64, u64>(&read(shard), None)?;
            }
        }
        Ok(())
    }

    /// Decisions by reason, and what lookups in the indexes of runs are like.
    fn encode_upkeep(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Decisions on upkeep by what was decided and why";
        let name = "maintenance_decisions";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (shard, id) in self.labelled() {
            for (kind, reason, count) in shard.decisions.iter() {
                let labels = [("shard", id.as_str()), ("kind", kind.name()), ("reason", reason)];
                metric.encode_family(&labels)?.encode_counter::<NoLabels, u64, u64>(&count, None)?;
            }
        }
        let help = "Lookups in indexes of runs by the structure that answered";
        let mut metric = encoder.encode_descriptor("index_lookups", help, None, MetricType::Counter)?;
        for (shard, id) in self.labelled() {
            for structure in [Structure::Learned, Structure::SPlus] {
                let labels = [("shard", id.as_str()), ("structure", structure.name())];
                let count = shard.drift.served(structure);
                metric.encode_family(&labels)?.encode_counter::<NoLabels, u64, u64>(&count, None)?;
            }
        }
        let help = "Keys of runs by the structure that serves a mode of lookups";
        let mut metric = encoder.encode_descriptor("index_keys", help, None, MetricType::Gauge)?;
        for (shard, id) in self.labelled() {
            for (mode, keys) in [("single", shard.keys_single), ("batch", shard.keys_batch)] {
                for structure in [Structure::Learned, Structure::SPlus] {
                    let labels = [("shard", id.as_str()), ("mode", mode), ("structure", structure.name())];
                    metric.encode_family(&labels)?.encode_gauge(&(keys[structure as usize] as i64))?;
                }
            }
        }
        let lines = "Lines of keys that sampled lookups looked at when the first look was in vain";
        self.encode_histogram(encoder, "index_probe_lines", lines, |shard| shard.drift.lines())?;
        let ranks = "Ranks between the prediction of sampled lookups and the answer";
        self.encode_histogram(encoder, "index_error_ranks", ranks, |shard| shard.drift.distance())
    }

    fn encode_histogram(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        read: fn(&ShardStats) -> &Histogram,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (shard, id) in self.labelled() {
            let histogram = read(shard);
            let mut below = 0;
            let mut buckets: Vec<(f64, u64)> = histogram
                .cumulative()
                .map(|(bound, sum)| (bound as f64, sum - std::mem::replace(&mut below, sum)))
                .collect();
            if let Some((bound, _)) = buckets.last_mut() {
                *bound = f64::INFINITY;
            }
            metric.encode_family(&[("shard", id.as_str())])?.encode_histogram::<NoLabels>(
                histogram.sum() as f64,
                histogram.count(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    /// Shard 0's: no other changes ranges.
    fn encode_router(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(writer) = self.0.first() else { return Ok(()) };
        let help = "Changes of ranges by the balancer, by reason";
        let mut metric = encoder.encode_descriptor("range_changes", help, None, MetricType::Counter)?;
        for (reason, count) in &writer.range_changes {
            let labels = [("reason", *reason)];
            metric.encode_family(&labels)?.encode_counter::<NoLabels, u64, u64>(count, None)?;
        }
        let help = "Changes of ranges that failed; all stayed as it was";
        encoder
            .encode_descriptor("range_change_failures", help, None, MetricType::Counter)?
            .encode_counter::<NoLabels, u64, u64>(&writer.range_change_failures, None)?;
        let help = "Bytes of the largest shard over the mean of all, when the balancer looked last";
        encoder
            .encode_descriptor("largest_shard_to_mean_ratio", help, None, MetricType::Gauge)?
            .encode_gauge(&writer.largest_to_mean)
    }

    fn encode_counter<V: EncodeCounterValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, unit): Named<'_>,
        read: impl Fn(&ShardStats) -> V,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (shard, id) in self.labelled() {
            let labels = [("shard", id.as_str())];
            metric.encode_family(&labels)?.encode_counter::<NoLabels, V, u64>(&read(shard), None)?;
        }
        Ok(())
    }

    fn encode_gauge<V: EncodeGaugeValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, unit): Named<'_>,
        read: impl Fn(&ShardStats) -> V,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (shard, id) in self.labelled() {
            metric.encode_family(&[("shard", id.as_str())])?.encode_gauge(&read(shard))?;
        }
        Ok(())
    }

    fn encode_latency(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        read: ReadLatency,
    ) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (shard, id) in self.labelled() {
            let latency = read(shard);
            let labels = [("shard", id.as_str())];
            metric.encode_family(&labels)?.encode_histogram::<NoLabels>(
                latency.sum_ns as f64 / 1e9,
                latency.count,
                &buckets(latency),
                None,
            )?;
        }
        Ok(())
    }
}

type NoLabels = [(&'static str, &'static str); 0];

/// Upper bound in seconds and count of every bucket.
fn buckets(latency: &Latency) -> Vec<(f64, u64)> {
    let bound = |index: usize| {
        if index + 1 == LATENCY_BUCKETS { f64::INFINITY } else { (1u64 << index) as f64 / 1e6 }
    };
    latency.buckets.iter().enumerate().map(|(index, count)| (bound(index), *count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::response::Body;
    use crate::types::ShardId;

    fn rendered(openmetrics: bool) -> String {
        let mut shard = ShardStats {
            shard: ShardId(3),
            gets: 7,
            log_bytes: 4096,
            log_paused_us: 1_500_000,
            ..Default::default()
        };
        shard.write_latency.observe(1_500);
        shard.write_latency.observe(100_000_000_000);
        let Body::Bytes { bytes, .. } = render(vec![shard], Numbers::default(), openmetrics).body else {
            panic!("text")
        };
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn both_formats_hold_the_numbers() {
        for openmetrics in [false, true] {
            let text = rendered(openmetrics);
            for line in [
                "kyrodb_requests_total{shard=\"3\",kind=\"get\"} 7",
                "kyrodb_log_written_bytes_total{shard=\"3\"} 4096",
                "kyrodb_log_paused_seconds_total{shard=\"3\"} 1.5",
                "kyrodb_write_latency_seconds_count{shard=\"3\"} 2",
                "kyrodb_write_latency_seconds_bucket{le=\"0.000002\",shard=\"3\"} 1",
                "kyrodb_write_latency_seconds_bucket{le=\"+Inf\",shard=\"3\"} 2",
                "kyrodb_shard_serving{shard=\"3\"} 0",
            ] {
                assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
            }
        }
    }

    #[test]
    fn the_formats_differ_where_they_must() {
        let (prometheus, openmetrics) = (rendered(false), rendered(true));
        assert!(openmetrics.ends_with("# EOF\n"));
        assert!(openmetrics.contains("# TYPE kyrodb_requests counter\n"));
        assert!(openmetrics.contains("# UNIT kyrodb_write_latency_seconds seconds\n"));
        assert!(prometheus.contains("# TYPE kyrodb_requests_total counter\n"));
        assert!(prometheus.contains("# HELP kyrodb_requests_total Requests"));
        assert!(prometheus.contains("# TYPE kyrodb_build_info gauge\n"));
        assert!(!prometheus.contains("# UNIT") && !prometheus.contains("# EOF"));
    }
}
