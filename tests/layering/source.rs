//! The text of a source file: what is code in it, and which paths it names.

/// The paths that `text` begins with, at most `segments` long: `a::{b, c::D}` gives `a::b` and `a::c`.
pub(crate) fn expand(text: &str, segments: usize) -> Vec<String> {
    let text = text.trim_start();
    if let Some(inside) = text.strip_prefix('{') {
        return split_group(inside).into_iter().flat_map(|part| expand(part, segments)).collect();
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    if head.is_empty() {
        return Vec::new();
    }
    match rest.trim_start().strip_prefix("::") {
        Some(rest) if segments > 1 => {
            let tails = expand(rest, segments - 1);
            if tails.is_empty() {
                return vec![head.to_owned()];
            }
            tails
                .into_iter()
                .map(|tail| if tail == "self" { head.to_owned() } else { format!("{head}::{tail}") })
                .collect()
        }
        _ => vec![head.to_owned()],
    }
}

/// The comma-separated parts of a brace group, whose opening brace is already read.
fn split_group(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_usize, 0);
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&text[from..at]);
                return parts;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// Where `word` stands as a whole word.
pub(crate) fn word_starts<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .filter(move |(at, _)| !code[..*at].ends_with(part) && !code[at + word.len()..].starts_with(part))
        .map(|(at, _)| at)
}

pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    word_starts(code, word).map(|at| line_of(code, at))
}

pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The text with comments, strings and character literals blanked, line numbers kept.
pub(crate) fn blank_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match &bytes[at..] {
            [b'/', b'/', ..] => at + text[at..].find('\n').unwrap_or(text.len() - at),
            [b'/', b'*', ..] => block_comment_end(bytes, at),
            [b'"', ..] => string_end(bytes, at + 1),
            [b'r', b'"' | b'#', ..] if at == 0 || !is_word(bytes[at - 1]) => raw_string_end(text, at),
            [b'\'', b'\\', ..] => text[at + 3..].find('\'').map_or(bytes.len(), |length| at + 4 + length),
            [b'\'', _, b'\'', ..] => at + 3,
            _ => at,
        };
        for byte in &mut out[at..end.min(bytes.len())] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn block_comment_end(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// End of the raw string at `from`, or `from` when there is none (a raw identifier).
fn raw_string_end(text: &str, from: usize) -> usize {
    let hashes = text[from + 1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = from + 1 + hashes;
    if !text[body..].starts_with('"') {
        return from;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[body + 1..].find(&close).map_or(text.len(), |length| body + 1 + length + close.len())
}
