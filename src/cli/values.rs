//! The spelling of arguments: times, objects as `key=value` pairs, ports.

use serde_json::{Map, Value};

/// A table of the file.
type Table = Map<String, Value>;

/// Seconds of `90d`, `12h`, `30m`, `10s` or `1h30m`.
pub(super) fn lifetime(text: &str) -> Result<u64, String> {
    let time = crate::model::spelled::time::parse(text).map(|time| time.as_secs());
    time.ok_or_else(|| "write a number and a unit, such as 90d, 12h, 30m or 10s".to_owned())
}

/// [`lifetime`], and a number alone means seconds.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    text.parse().or_else(|_| lifetime(text)).map_err(|_| "write a time such as 30s, 2m or 1h".to_owned())
}

/// `name=web,priority=100,source=…`: a table of the file's keys. A key alone says `true`, a repeated one makes a list.
pub(super) fn pairs(text: &str) -> Result<Table, String> {
    let mut table = Table::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').map_or((pair, Value::Bool(true)), |(key, value)| (key, word(value)));
        if key.is_empty() {
            return Err(format!("`{pair}` is not of the form KEY=VALUE"));
        }
        match table.get_mut(key) {
            None => _ = table.insert(key.to_owned(), value),
            Some(Value::Array(list)) => list.push(value),
            Some(one) => *one = Value::Array(vec![one.clone(), value]),
        }
    }
    if table.is_empty() { Err("write KEY=VALUE,KEY=VALUE,…".to_owned()) } else { Ok(table) }
}

fn word(value: &str) -> Value {
    match value {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => value.parse().map_or_else(|_| Value::String(value.to_owned()), |number: i64| number.into()),
    }
}

/// `blob=10.1.9.4`: a member and its address.
pub(super) fn member(text: &str) -> Result<Table, String> {
    let (member, ip) = text.split_once('=').ok_or("write MEMBER=IP, such as blob=10.1.9.4")?;
    Ok(table([("member", member.into()), ("ip", ip.into())]))
}

/// `5432`, `443:10000/tcp`, `8000-8100/udp` or `icmp`: what endpoints expose, and the backend's port where it is another.
pub(super) fn port(text: &str) -> Result<Table, String> {
    if text.eq_ignore_ascii_case("icmp") {
        return Ok(table([("protocol", "icmp".into())]));
    }
    let (place, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (exposed, backend) = place.split_once(':').map_or((place, None), |(exposed, backend)| (exposed, Some(backend)));
    let mut port = table([("protocol", protocol.to_lowercase().into()), ("port", word(exposed))]);
    if let Some(backend) = backend {
        let number: u16 = backend.parse().map_err(|_| format!("`{backend}` is not a port"))?;
        port.insert("backend_port".to_owned(), i64::from(number).into());
    }
    Ok(port)
}

/// A table of these values.
pub(super) fn table<const N: usize>(values: [(&str, Value); N]) -> Table {
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_or_are_seconds() {
        for (text, seconds) in [
            ("30", Ok(30)),
            ("30s", Ok(30)),
            ("2m", Ok(120)),
            ("1h", Ok(3_600)),
            ("1d", Ok(86_400)),
            ("1h30m", Ok(5_400)),
        ] {
            assert_eq!(duration(text), seconds, "{text}");
        }
        for text in ["", "s", "-1", "1.5h", "2 m", "99999999999999999999d", "ü"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(lifetime("90").is_err(), "a token's lifetime names its unit");
    }

    #[test]
    fn pairs_are_a_table_of_the_file() {
        let rule = pairs("name=web,priority=100,ports=443,ports=8000-8100,dedicated").expect("pairs");
        let text = Value::Object(rule).to_string();
        assert_eq!(text, r#"{"dedicated":true,"name":"web","ports":[443,"8000-8100"],"priority":100}"#);
        for text in ["", ",", "=x"] {
            assert!(pairs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_name_both_sides() {
        for (text, json) in [
            ("5432", r#"{"port":5432,"protocol":"tcp"}"#),
            ("443:10000/TCP", r#"{"backend_port":10000,"port":443,"protocol":"tcp"}"#),
            ("8000-8100/udp", r#"{"port":"8000-8100","protocol":"udp"}"#),
            ("icmp", r#"{"protocol":"icmp"}"#),
        ] {
            assert_eq!(Value::Object(port(text).expect(text)).to_string(), json);
        }
        assert!(port("443:x").is_err());
        assert!(member("blob").is_err());
    }
}
