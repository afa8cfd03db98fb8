//! A document in JSON: the tables of a file, as a tree like that of a file's text. Its values are numbered, and a number
//! is their place; a field path such as `vnet[0].subnets[1].prefix` follows from it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The values of a document by their numbers. Each names the one it stands in, so that a document needs no more memory
/// than in proportion to its length, however long its keys are.
#[derive(Debug, Default)]
pub(super) struct Fields<'t>(Vec<(usize, Step<'t>)>);

/// Characters of a key that a path shows: no key of any table is as long, and an answer must not repeat all that
/// somebody sent.
const SHOWN: usize = 80;

/// How to get from a value to one within it.
#[derive(Clone, Copy, Debug)]
enum Step<'t> {
    /// The document itself.
    Root,
    Key(&'t str),
    Index(usize),
}

impl Fields<'_> {
    /// The field path of the value with this number; empty for the document itself.
    pub(super) fn path(&self, mut number: usize) -> String {
        let mut steps = Vec::new();
        while let Some(&(parent, step)) = self.0.get(number).filter(|(_, step)| !matches!(step, Step::Root)) {
            steps.push(step);
            number = parent;
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Root => {}
                Step::Key(key) => {
                    path += if path.is_empty() { "" } else { "." };
                    path.extend(key.chars().take(SHOWN));
                }
                // Writing to a text does not fail.
                Step::Index(index) => _ = write!(path, "[{index}]"),
            }
        }
        path
    }
}

/// The tree of `tables`, whose numbers are `numbers`, with its fields. What is `null` is left out.
pub(super) fn tree<'t>(tables: &'t Map<String, Value>, numbers: &'t [String]) -> (DeTable<'t>, Fields<'t>) {
    let mut builder = Builder { fields: Fields(vec![(0, Step::Root)]), numbers: numbers.iter() };
    let root = builder.table(tables, 0);
    (root, builder.fields)
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
    fields: Fields<'t>,
    numbers: std::slice::Iter<'t, String>,
}

impl<'t> Builder<'t> {
    /// The number of a new value in `parent`.
    fn number(&mut self, parent: usize, step: Step<'t>) -> usize {
        self.fields.0.push((parent, step));
        self.fields.0.len() - 1
    }

    /// From `start` to the last value so far: a list holds the places of its items, as it does in a text.
    fn since(&self, start: usize) -> Range<usize> {
        start..self.fields.0.len()
    }

    fn table(&mut self, fields: &'t Map<String, Value>, parent: usize) -> DeTable<'t> {
        let mut table = DeTable::new();
        for (key, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
            let start = self.number(parent, Step::Key(key));
            let name = Spanned::new(self.since(start), Cow::Borrowed(key.as_str()));
            table.insert(name, self.value(field, start));
        }
        table
    }

    fn value(&mut self, value: &'t Value, number: usize) -> Spanned<DeValue<'t>> {
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
                    let item_number = self.number(number, Step::Index(index));
                    list.push(self.value(item, item_number));
                }
                DeValue::Array(list)
            }
            Value::Object(fields) => DeValue::Table(self.table(fields, number)),
        };
        Spanned::new(self.since(number), value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_key_above_many_values_costs_its_length_once() {
        let key = "k".repeat(1 << 20);
        let tables = [(key.clone(), Value::Array(vec![true.into(); 1 << 16]))].into_iter().collect();
        let numbers = numbers(&tables);
        // As text, the paths would take 64 GiB.
        let (root, fields) = tree(&tables, &numbers);
        assert_eq!((root.len(), fields.0.len()), (1, 2 + (1 << 16)));
        assert_eq!(fields.path(2 + 7), format!("{}[7]", "k".repeat(SHOWN)), "nor is it repeated");
        assert_eq!((fields.path(0), fields.path(usize::MAX)), (String::new(), String::new()));
    }
}
