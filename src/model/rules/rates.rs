//! What may pass in a second: rates that limit something, and that a meter can keep.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::{Findings, Object};
use crate::model::Rates;
use crate::model::sentence::itself;

/// The rules about the rates of one object.
pub(super) fn check(rates: Option<Rates>, object: &Object, findings: &mut Findings) {
    let Some(rates) = rates else { return };
    if !rates.limit_anything() {
        let remedy = "add `bits_per_second` or `new_sessions_per_second`, or leave `rates` out";
        findings.error("InvalidRate", object.at("rates"), "`rates` limits nothing", remedy);
    }
    within("bits_per_second", rates.bits_per_second, &Rates::BITS, object, findings);
    within("new_sessions_per_second", rates.new_sessions_per_second, &Rates::SESSIONS, object, findings);
}

fn within<T: PartialOrd + Display>(
    field: &str,
    rate: Option<T>,
    bounds: &RangeInclusive<T>,
    object: &Object,
    findings: &mut Findings,
) {
    let Some(rate) = rate.filter(|rate| !bounds.contains(rate)) else { return };
    findings.error(
        "InvalidRate",
        object.at(format!("rates.{field}")),
        itself(format!("`{field}` is {rate}, which no meter keeps")),
        itself(format!("write {} to {}, or leave it out: then as much passes as comes", bounds.start(), bounds.end())),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Key;

    #[test]
    fn rates_limit_something_and_lie_within_their_bounds() {
        let (bits, sessions) = (Rates::BITS, Rates::SESSIONS);
        for (of_bits, of_sessions, wrong) in [
            (None, None, vec!["rates"]),
            (Some(0), None, vec!["rates.bits_per_second"]),
            (Some(bits.start() - 1), Some(0), vec!["rates.bits_per_second", "rates.new_sessions_per_second"]),
            (
                Some(bits.end() + 1),
                Some(sessions.end() + 1),
                vec!["rates.bits_per_second", "rates.new_sessions_per_second"],
            ),
            (Some(*bits.start()), Some(*sessions.start()), vec![]),
            (Some(*bits.end()), Some(*sessions.end()), vec![]),
        ] {
            let rates = Rates { bits_per_second: of_bits, new_sessions_per_second: of_sessions };
            let mut findings = Findings::default();
            check(Some(rates), &Object::Endpoint(Key::new("default", "orders")), &mut findings);
            let at: Vec<&str> = findings.0.iter().map(|found| found.at.field.as_str()).collect();
            assert_eq!(at, wrong, "{rates:?}");
        }
    }
}
