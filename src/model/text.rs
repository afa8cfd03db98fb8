//! Checks free text. Tenants' texts are shown to others, so they must not contain characters that move a cursor, end a
//! line, end a string or change the writing direction. The writer refuses such new text in every field. Text that an
//! older release accepted stays, and is escaped where people read it.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::error::{Error, ErrorKind};
use super::registry::{self, each_kind};
use super::sentence::itself;
use super::state::ControlState;
use super::{Key, Map, PrivateEndpoint};

/// Whether a character is allowed in text: not a control character, a line or paragraph separator, a change of writing
/// direction, or an invisible character.
pub fn is_plain(letter: char) -> bool {
    let hidden = matches!(
        letter,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !hidden && !letter.is_control()
}

/// `text` with characters that are not [plain](is_plain) escaped, such as `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            plain if is_plain(plain) => shown.push(plain),
            '\n' | '\t' | '\r' => shown.extend(letter.escape_default()),
            other => shown.extend(other.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

/// Checks every new text of `after`: in objects and connections that are new or changed since `before`. With `only`,
/// only that endpoint has changed.
///
/// # Errors
/// Names the field of the first bad text.
pub(crate) fn judge(before: &ControlState, after: &ControlState, only: Option<&Key>) -> Result<(), Error> {
    let change = Change { before, only };
    change.judge::<PrivateEndpoint>(after)?;
    let connections = changed(&before.connections, &after.connections, only);
    for (key, connection) in connections {
        let known = before.connections.get(key).into_iter();
        refuse(&format!("connection {key}"), connection, known)?;
    }
    if only.is_some() {
        return Ok(());
    }
    each_kind!(K => change.judge::<K>(after)?);
    Ok(())
}

struct Change<'a> {
    before: &'a ControlState,
    only: Option<&'a Key>,
}

impl Change<'_> {
    fn judge<K: registry::Kind>(&self, after: &ControlState) -> Result<(), Error> {
        let before = K::map(&self.before.model);
        for (key, object) in changed(before, K::map(&after.model), self.only) {
            let place = format!("{} {key}", K::SINGULAR);
            if !before.contains_key(key) {
                refuse(&place, &[&key.subscription, &key.group, &key.name], std::iter::empty::<&K>())?;
            }
            // An unchanged file brings no new text.
            let files = self.before.files.values().filter_map(|file| K::map(&file.model).get(key));
            refuse(&place, object, before.get(key).into_iter().chain(files))?;
        }
        Ok(())
    }
}

fn changed<'a, V: PartialEq>(before: &'a Map<V>, after: &'a Map<V>, only: Option<&'a Key>) -> Vec<(&'a Key, &'a V)> {
    match only {
        Some(key) => after.entry(key).filter(|(_, object)| before.get(key) != Some(object)).into_iter().collect(),
        None => before.changes(after).into_iter().filter_map(|(key, object)| Some((key, object?))).collect(),
    }
}

/// Refuses `object` if it contains a bad text that is in none of `known`.
fn refuse<'a, K: Serialize + 'a, V: Serialize + ?Sized>(
    place: &str,
    object: &V,
    known: impl Iterator<Item = &'a K>,
) -> Result<(), Error> {
    let odd = odd(object);
    if odd.is_empty() {
        return Ok(());
    }
    let known: Vec<String> = known.flat_map(self::odd).map(|(_, text)| text).collect();
    let Some((field, text)) = odd.into_iter().find(|(_, text)| !known.contains(text)) else { return Ok(()) };
    let letter = text.chars().find(|letter| !is_plain(*letter)).map_or(0, u32::from);
    let (place, text) = (visible(place), visible(&text));
    let field = visible(&field);
    let message = itself(format!("{place}: {field} is no plain text: U+{letter:04X} in \"{text}\""));
    let remedy = "leave out control characters, line breaks, and what turns the direction of writing";
    Err(Error::new(ErrorKind::Invalid, "InvalidText", message, remedy))
}

/// Every bad text of `object`, with its field.
fn odd<V: Serialize + ?Sized>(object: &V) -> Vec<(String, String)> {
    let mut found = Vec::new();
    // An object that cannot be serialised cannot be stored either.
    if serde_json::to_vec(object).is_ok_and(|bytes| is_suspicious(&bytes))
        && let Ok(value) = serde_json::to_value(object)
    {
        walk("", &value, &mut found);
    }
    found
}

/// Whether `json` may contain a bad text: a quick check with false positives.
fn is_suspicious(json: &[u8]) -> bool {
    let mut bytes = json.iter().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(b'"' | b'\\')) => _ = bytes.next(),
            // Escapes, and the first UTF-8 bytes of all characters that are not plain.
            (b'\\' | 0x7f, _)
            | (0xc2, Some(0x80..=0x9f))
            | (0xd8, Some(0x9c))
            | (0xe2, Some(0x80 | 0x81))
            | (0xef, Some(0xbb | 0xbf))
            | (0xf3, Some(0xa0)) => return true,
            _ => {}
        }
    }
    false
}

fn walk(field: &str, value: &Value, found: &mut Vec<(String, String)>) {
    let below = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
    match value {
        Value::String(text) if !text.chars().all(is_plain) => found.push((field.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| walk(field, item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(field, &Value::String(name.clone()), found);
                walk(&below(name), value, found);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
