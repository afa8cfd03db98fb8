//! JSON for people: in the order in which it came, and on one line where that is short.

use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Longest line that an array or an object is kept on.
const LINE: usize = 100;

/// A value whose fields keep their order.
enum Json {
    /// As it is written.
    Plain(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Longest line in which texts of several lines are left as they are.
const LONG: usize = 300;

/// `text` with a line for each line of the long texts in it, so that they differ by lines.
pub(crate) fn by_lines(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        if line.len() <= LONG {
            out.push_str(line);
            continue;
        }
        let depth = line.len() - line.trim_start_matches(' ').len();
        out.push_str(&line.replace("\\n", &format!("\\n\n{}", " ".repeat(depth + 2))));
    }
    out
}

/// `text` for people; as it is, if it is no JSON.
pub(crate) fn for_people(text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Json>(text) else { return text.to_owned() };
    let mut out = String::new();
    value.write(0, &mut out);
    out
}

impl Json {
    fn line(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Array(items) => format!("[{}]", items.iter().map(Self::line).collect::<Vec<_>>().join(", ")),
            Self::Object(fields) if fields.is_empty() => "{}".to_owned(),
            Self::Object(fields) => {
                let field = |(name, value): &(String, Self)| format!("{}: {}", quoted(name), value.line());
                format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn write(&self, depth: usize, out: &mut String) {
        let line = self.line();
        if 2 * depth + line.chars().count() <= LINE {
            out.push_str(&line);
            return;
        }
        let (open, close, items) = match self {
            Self::Plain(text) => return out.push_str(text),
            Self::Array(items) => ('[', ']', items.iter().map(|item| (None, item)).collect::<Vec<_>>()),
            Self::Object(fields) => ('{', '}', fields.iter().map(|(name, value)| (Some(name), value)).collect()),
        };
        out.push(open);
        for (at, (name, value)) in items.iter().enumerate() {
            let _ = write!(out, "{}\n{}", if at > 0 { "," } else { "" }, "  ".repeat(depth + 1));
            if let Some(name) = name {
                let _ = write!(out, "{}: ", quoted(name));
            }
            value.write(depth + 1, out);
        }
        let _ = write!(out, "\n{}{close}", "  ".repeat(depth));
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Plain(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Plain(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Plain(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Plain(serde_json::Value::from(value).to_string()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Plain(quoted(value)))
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Plain("null".to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Json::Array(all))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
                let mut all = Vec::new();
                while let Some(field) = fields.next_entry()? {
                    all.push(field);
                }
                Ok(Json::Object(all))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[test]
fn fields_keep_their_order_and_short_things_their_line() {
    let text = r#"{"b":1,"a":[true,null,"\u00e9\n"],"long":"LONG","f":-1.5}"#.replace("LONG", &"x".repeat(LINE));
    let expected = format!(
        "{{\n  \"b\": 1,\n  \"a\": [true, null, \"é\\n\"],\n  \"long\": \"{}\",\n  \"f\": -1.5\n}}",
        "x".repeat(LINE)
    );
    assert_eq!(for_people(&text), expected);
    assert_eq!(for_people("no: JSON"), "no: JSON");
    let (short, long) = (r#"  "a\nb","#, "x".repeat(LONG));
    assert_eq!(by_lines(&format!("{short}\n  \"a\\n{long}\"\n")), format!("{short}\n  \"a\\n\n    {long}\"\n"));
}
