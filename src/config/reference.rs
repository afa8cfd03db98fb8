//! Every key of the file, from its schema: for the reference page and for `privlink config`.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

/// One table of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its name in the JSON schema; that of the whole file is `File`.
    pub table: String,
    /// What it is.
    pub about: String,
    /// Its keys by name.
    pub keys: Vec<TableKey>,
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableKey {
    /// As it is written.
    pub key: String,
    /// What may be written for it; the name of another table stands in brackets.
    pub value: String,
    /// It may not be left out.
    pub required: bool,
    /// What it means.
    pub meaning: String,
}

/// The whole file, and then each table by its name.
pub fn reference() -> Vec<Table> {
    let schema = super::schema();
    let tables = schema.get("$defs").and_then(Value::as_object);
    let tables = tables.into_iter().flatten().map(|(name, schema)| table(name, schema));
    std::iter::once(table("File", &schema)).chain(tables).collect()
}

fn table(name: &str, schema: &Value) -> Table {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let key = |(key, schema): (&String, &Value)| TableKey {
        key: key.clone(),
        value: value(schema),
        required: required.contains(key.as_str()),
        meaning: described(schema),
    };
    Table { table: name.to_owned(), about: described(schema), keys: properties.map(key).collect() }
}

fn described(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

/// What may be written for a value, in words.
fn value(schema: &Value) -> String {
    let text = |keyword: &str| schema.get(keyword).and_then(Value::as_str);
    let list = |keyword: &str| schema.get(keyword).and_then(Value::as_array);
    if let Some(table) = text("$ref").and_then(|path| path.strip_prefix("#/$defs/")) {
        return format!("[{table}]");
    }
    if let Some(words) = list("enum") {
        return words.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    }
    if let Some(forms) = list("anyOf") {
        let mut forms: Vec<String> = forms.iter().map(value).filter(|form| form != "null").collect();
        if let [one, list] = forms.as_slice()
            && *list == format!("list of {one}")
        {
            return format!("{one}, or a list");
        }
        forms.dedup();
        return forms.join(", or ");
    }
    match text("type") {
        Some("array") => format!("list of {}", schema.get("items").map(value).unwrap_or_default()),
        Some("string") if text("format") == Some("ip") => "address".to_owned(),
        Some("string") => "text".to_owned(),
        Some("integer" | "number") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}
