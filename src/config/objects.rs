//! A document in JSON: the tables of a file, as a tree like that of a file's text. A place in it is a field path, such
//! as `vnet[0].subnets[1].prefix`; the tree counts its values, and a number stands for each path.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The tree of a document, and the field path of each of its values.
#[derive(Debug)]
pub(super) struct Tree<'t> {
    /// Its tables.
    pub(super) root: DeTable<'t>,
    /// By the numbers that stand for places in `root`.
    pub(super) paths: Vec<String>,
}

impl<'t> Tree<'t> {
    /// The tree of `tables`, whose numbers are `numbers`. What is `null` is left out.
    pub(super) fn new(tables: &'t Map<String, Value>, numbers: &'t [String]) -> Self {
        let mut builder = Builder { paths: vec![String::new()], numbers: numbers.iter() };
        let root = builder.table(tables, "");
        Self { root, paths: builder.paths }
    }
}

/// The texts of the numbers in `tables`, in the order in which a tree is built: it borrows them.
pub(super) fn numbers(tables: &Map<String, Value>) -> Vec<String> {
    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Number(number) => into.push(number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
            Value::Object(fields) => fields.values().for_each(|field| collect(field, into)),
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }
    let mut numbers = Vec::new();
    tables.values().for_each(|value| collect(value, &mut numbers));
    numbers
}

struct Builder<'t> {
    paths: Vec<String>,
    numbers: std::slice::Iter<'t, String>,
}

impl<'t> Builder<'t> {
    /// The number of a new place.
    fn place(&mut self, path: &str) -> usize {
        self.paths.push(path.to_owned());
        self.paths.len() - 1
    }

    /// From `start` to the last place so far: a list holds the places of its items, as it does in a text.
    fn since(&self, start: usize) -> Range<usize> {
        start..self.paths.len()
    }

    fn table(&mut self, fields: &'t Map<String, Value>, path: &str) -> DeTable<'t> {
        let mut table = DeTable::new();
        for (key, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let start = self.place(&path);
            let key = Spanned::new(self.since(start), Cow::Borrowed(key.as_str()));
            table.insert(key, self.value(field, &path));
        }
        table
    }

    fn value(&mut self, value: &'t Value, path: &str) -> Spanned<DeValue<'t>> {
        let start = self.place(path);
        let value = match value {
            Value::Null => DeValue::String(Cow::Borrowed("")),
            Value::Bool(value) => DeValue::Boolean(*value),
            Value::String(text) => DeValue::String(Cow::Borrowed(text)),
            Value::Number(_) => {
                let text = self.numbers.next().map_or("", String::as_str);
                DeValue::parse(text).map_or(DeValue::String(Cow::Borrowed(text)), Spanned::into_inner)
            }
            Value::Array(items) => {
                let mut list = DeArray::new();
                for (index, item) in items.iter().enumerate() {
                    list.push(self.value(item, &format!("{path}[{index}]")));
                }
                DeValue::Array(list)
            }
            Value::Object(fields) => DeValue::Table(self.table(fields, path)),
        };
        Spanned::new(self.since(start), value)
    }
}
