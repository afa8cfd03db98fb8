//! Prometheus text (OpenMetrics 1.0), made from one `Sample` per scrape. `docs/metrics.md` lists the names.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::{BackendFacts, EndpointFacts, Observer, Sample};
use crate::dataplane::counters::{EndpointTotals, NatPortUse, VerdictCounts};
use crate::snapshot::DropReason;
use crate::snapshot::Rates;

/// Media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of one scrape.
///
/// # Errors
/// The encoder refused to write; nothing that a counter holds makes it.
pub fn render(observer: &Observer) -> Result<String, fmt::Error> {
    render_sample(observer.sample())
}

/// The same of a sample, or of a part of one.
///
/// # Errors
/// The text cannot be formatted.
pub fn render_sample(sample: Sample) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(sample));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.packets(&mut encoder)?;
        self.drops(&mut encoder)?;
        for (subject, group) in [("endpoint", &self.endpoints), ("resource", &self.resources)] {
            traffic(&mut encoder, subject, "bytes", "Bytes", group, |totals| {
                [totals.bytes_to_service, totals.bytes_to_consumer]
            })?;
            traffic(&mut encoder, subject, "packets", "Packets", group, |totals| {
                [totals.packets_to_service, totals.packets_to_consumer]
            })?;
        }
        self.sessions(&mut encoder)?;
        self.rates(&mut encoder)?;
        self.nat_ports(&mut encoder)?;
        self.probes(&mut encoder)?;
        self.links(&mut encoder)?;
        self.backends(&mut encoder)?;
        self.flow_log(&mut encoder)?;
        self.hooks(&mut encoder)?;
        self.log(&mut encoder)?;
        self.reloads(&mut encoder)?;
        self.names(&mut encoder)
    }
}

impl Sample {
    fn packets(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Device reads by verdict: read + handed_in = forwarded + dropped + handed_out + held; \
                    answered and originated stand beside the sum";
        let mut family = encoder.encode_descriptor("privlink_packets", help, None, MetricType::Counter)?;
        for (worker, counts) in (0_u64..).zip(&self.workers) {
            for (verdict, value) in verdicts(counts) {
                counter(&mut family, &[("worker", &worker.to_string()), ("verdict", verdict)], value)?;
            }
        }
        Ok(())
    }

    fn drops(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Device reads dropped, by reason";
        let mut family = encoder.encode_descriptor("privlink_drops", help, None, MetricType::Counter)?;
        for (worker, counts) in (0_u64..).zip(&self.workers) {
            for reason in DropReason::ALL {
                let labels = [("worker", &*worker.to_string()), ("reason", reason.name())];
                counter(&mut family, &labels, counts.dropped[reason as usize])?;
            }
        }
        Ok(())
    }

    fn sessions(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor("privlink_sessions", "Live sessions", None, MetricType::Gauge)?;
        for (endpoint, totals) in &self.endpoints {
            gauge(&mut family, &[("endpoint", endpoint)], totals.sessions)?;
        }
        let mut family =
            encoder.encode_descriptor("privlink_sessions_opened", "Sessions ever opened", None, MetricType::Counter)?;
        for (endpoint, totals) in &self.endpoints {
            counter(&mut family, &[("endpoint", endpoint)], totals.sessions_opened)?;
        }
        Ok(())
    }

    /// Only of what has a rate, or had one.
    fn rates(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Of = fn(&Rates) -> Option<u64>;
        let kinds: [(&str, &str, Of); 2] = [
            ("max_bits_per_second", "Bits that may pass in a second, each way", |rates| rates.bits_per_second),
            ("max_new_sessions_per_second", "Sessions that may be opened in a second", |rates| {
                rates.new_sessions_per_second.map(u64::from)
            }),
        ];
        let subjects = [("endpoint", &self.endpoints), ("resource", &self.resources)];
        for ((subject, group), rates) in subjects.into_iter().zip(&self.rates) {
            for (name, help, of) in kinds {
                let name = format!("privlink_{subject}_{name}");
                let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
                let named = rates.iter().filter_map(|(who, rates)| Some((who, of(rates)?)));
                named.into_iter().try_for_each(|(who, rate)| gauge(&mut family, &[(subject, who)], rate))?;
            }
            let (name, help) = (format!("privlink_{subject}_rate_limited"), "Packets that a rate did not let pass");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            let has_rate = |who: &str| rates.iter().any(|(name, _)| **name == *who);
            for (who, totals) in group.iter().filter(|(who, totals)| totals.rate_limited > 0 || has_rate(who)) {
                counter(&mut family, &[(subject, who)], totals.rate_limited)?;
            }
        }
        Ok(())
    }

    fn nat_ports(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "NAT ports of an address over its protocols and backends";
        let mut family = encoder.encode_descriptor("privlink_nat_ports", help, None, MetricType::Gauge)?;
        for NatPortUse { nat_ip, used, quarantined, free } in &self.nat_ports {
            for (state, value) in [("used", used), ("quarantined", quarantined), ("free", free)] {
                gauge(&mut family, &[("nat_ip", &nat_ip.to_string()), ("state", state)], *value)?;
            }
        }
        Ok(())
    }

    fn probes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Most places that a search of the session table has had to read";
        let mut family = encoder.encode_descriptor("privlink_table_probes", help, None, MetricType::Gauge)?;
        for (worker, probes) in (0_u64..).zip(&self.probes) {
            gauge(&mut family, &[("worker", &worker.to_string())], probes.longest)?;
        }
        let help = "Sessions refused because a search for them would have had to read too many places";
        let mut family = encoder.encode_descriptor("privlink_table_refused", help, None, MetricType::Counter)?;
        for (worker, probes) in (0_u64..).zip(&self.probes) {
            counter(&mut family, &[("worker", &worker.to_string())], probes.refused)?;
        }
        Ok(())
    }

    fn links(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Resource and network identifier of an endpoint's connection";
        let mut family = encoder.encode_descriptor("privlink_endpoint_info", help, None, MetricType::Gauge)?;
        for (endpoint, EndpointFacts { resource, link, .. }) in &self.links {
            gauge(&mut family, &[("endpoint", endpoint), ("resource", resource), ("link", &link.to_string())], 1)?;
        }
        Ok(())
    }

    fn backends(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether a backend answers its health checks";
        let mut family = encoder.encode_descriptor("privlink_backend_up", help, None, MetricType::Gauge)?;
        for BackendFacts { resource, target, address, up } in &self.backends {
            let labels = [("resource", &**resource), ("target", target), ("backend", &address.to_string())];
            gauge(&mut family, &labels, u64::from(*up))?;
        }
        Ok(())
    }

    fn hooks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(counts) = self.hooks else { return Ok(()) };
        let help = "Runs of on_request, by how they ended";
        let mut family = encoder.encode_descriptor("privlink_on_request", help, None, MetricType::Counter)?;
        counts.iter().try_for_each(|(outcome, value)| counter(&mut family, &[("outcome", outcome)], *value))
    }

    fn log(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Lines of the daemon's log that standard error did not take";
        let metric = encoder.encode_descriptor("privlink_log_lost", help, None, MetricType::Counter)?;
        ConstCounter::new(self.log_lost).encode(metric)
    }

    fn reloads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Times that the daemon's file was read anew since the start, by what became of it";
        let mut family = encoder.encode_descriptor("privlink_reloads", help, None, MetricType::Counter)?;
        for (outcome, value) in [("applied", self.reloads.applied), ("refused", self.reloads.refused)] {
            counter(&mut family, &[("outcome", outcome)], value)?;
        }
        let help = "Whether the daemon's file was applied when it was last read: at the start, or anew";
        let metric = encoder.encode_descriptor("privlink_last_reload_applied", help, None, MetricType::Gauge)?;
        let applied = self.reloads.last.as_ref().is_none_or(|last| last.applied);
        ConstGauge::new(i64::from(applied)).encode(metric)
    }

    fn names(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return Ok(());
        }
        let help = "DNS queries answered, by where the answer came from and by its code";
        let mut family = encoder.encode_descriptor("privlink_dns_queries", help, None, MetricType::Counter)?;
        for counts in &self.names {
            // Most pairs never occur.
            for (source, code, value) in counts.answers.iter().filter(|(_, _, value)| *value > 0) {
                counter(&mut family, &[("vnet", &counts.vnet), ("source", source), ("rcode", code)], *value)?;
            }
        }
        let help = "DNS messages left without an answer, by reason";
        let mut family = encoder.encode_descriptor("privlink_dns_dropped", help, None, MetricType::Counter)?;
        for counts in &self.names {
            for (reason, value) in &counts.drops {
                counter(&mut family, &[("vnet", &counts.vnet), ("reason", reason)], *value)?;
            }
        }
        Ok(())
    }

    fn flow_log(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some((records, lost)) = self.flow_log else { return Ok(()) };
        for (name, help, value) in [
            ("privlink_flow_log_records", "Ended sessions written to the flow log", records),
            ("privlink_flow_log_lost", "Ended sessions for which the flow log had no room", lost),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }
}

fn verdicts(counts: &VerdictCounts) -> [(&'static str, u64); 8] {
    [
        ("read", counts.read),
        ("handed_in", counts.handed_in),
        ("forwarded", counts.forwarded),
        ("dropped", counts.dropped_total()),
        ("handed_out", counts.handed_out),
        ("held", counts.held),
        ("answered", counts.answered),
        ("originated", counts.originated),
    ]
}

/// `privlink_<subject>_<unit>_total{<subject>,direction}`; the encoder appends `_total`.
fn traffic<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    subject: &str,
    unit: &str,
    unit_in_help: &str,
    group: impl IntoIterator<Item = (&'a String, &'a EndpointTotals)>,
    directions: impl Fn(&EndpointTotals) -> [u64; 2],
) -> fmt::Result {
    let name = format!("privlink_{subject}_{unit}");
    let help = format!("{unit_in_help} forwarded, as IP packets on the wire, by {subject}");
    let mut family = encoder.encode_descriptor(&name, &help, None, MetricType::Counter)?;
    for (who, totals) in group {
        for (direction, value) in ["to_service", "to_consumer"].into_iter().zip(directions(totals)) {
            counter(&mut family, &[(subject, who), ("direction", direction)], value)?;
        }
    }
    Ok(())
}

fn counter(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(family.encode_family(&labels)?)
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    // The encoder knows signed gauges only; no gauge here comes near the limit.
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(family.encode_family(&labels)?)
}
