//! Domain names.

/// A name in lower case, without the dot at its end; `None`: it cannot be one. The first label may be `*` where
/// `wildcard` says so.
pub fn domain_name(text: &str, wildcard: bool) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text).to_lowercase();
    let label = |(index, label): (usize, &str)| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let any = wildcard && index == 0 && label == "*";
        any || (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    // RFC 1035 §2.3.4: 255 bytes on the wire, which is 253 characters.
    (!text.is_empty() && text.len() <= 253 && text.split('.').enumerate().all(label)).then_some(text)
}
