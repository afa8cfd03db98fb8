//! How much a document may hold. Whoever may write some object may send one, so what it costs to read is bounded before
//! anything of it is looked up: how many objects, how deep, and how long each name and text.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Mistake;

/// Objects: tables of a list.
pub(super) const OBJECTS_MAX: usize = 50_000;

/// Values, all objects and lists together.
const VALUES_MAX: usize = 1_000_000;

/// Tables and lists within one another. The schema's deepest is far below.
const DEPTH_MAX: usize = 16;

/// Bytes of a name of something, a key, or any other text.
const TEXT_MAX: usize = 4_096;

/// Whether anything in `root` is beyond what a document may hold; the first that is.
pub(super) fn judge(root: &DeTable<'_>) -> Result<(), Mistake> {
    Count::default().table(root, 1)
}

#[derive(Default)]
struct Count {
    objects: usize,
    values: usize,
}

impl Count {
    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Result<(), Mistake> {
        for (key, value) in table {
            short(key.get_ref(), key)?;
            self.value(value, depth)?;
        }
        Ok(())
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<(), Mistake> {
        let beyond = |message: String, remedy: &str| Err(Mistake::error(value.span(), message, remedy));
        self.values += 1;
        if self.values > VALUES_MAX {
            let message = format!("the document has more than {VALUES_MAX} values; this is the first beyond");
            return beyond(message, "divide the document, and apply its parts one after the other");
        }
        if depth > DEPTH_MAX {
            let message = format!("tables and lists stand within one another more than {DEPTH_MAX} deep");
            return beyond(
                message,
                "nothing that a document may hold is as deep: look at the brackets before this place",
            );
        }
        match value.get_ref() {
            DeValue::String(text) => short(text, value),
            DeValue::Array(items) => items.iter().try_for_each(|item| {
                self.objects += usize::from(matches!(item.get_ref(), DeValue::Table(_)));
                if self.objects > OBJECTS_MAX {
                    let message = format!("the document has more than {OBJECTS_MAX} objects; this is the first beyond");
                    let remedy = "divide the document, and apply its parts one after the other";
                    return Err(Mistake::error(item.span(), message, remedy));
                }
                self.value(item, depth + 1)
            }),
            DeValue::Table(table) => self.table(table, depth + 1),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => Ok(()),
        }
    }
}

fn short<T>(text: &str, at: &Spanned<T>) -> Result<(), Mistake> {
    if text.len() <= TEXT_MAX {
        return Ok(());
    }
    let message = format!("this text has {} bytes, and {TEXT_MAX} are allowed", text.len());
    Err(Mistake::error(at.span(), message, "shorten it; a name has 80 characters at most"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_document;
    use crate::model::Model;

    fn refused(text: &str) -> String {
        parse_document(text, "d.toml", &Model::default()).expect_err("beyond the bounds").to_string()
    }

    #[test]
    fn what_is_beyond_the_bounds_is_refused_at_its_place() {
        let many = "[[endpoint]]\n".repeat(OBJECTS_MAX + 1);
        let nested = format!("vnet = {}{}", "[".repeat(40), "]".repeat(40));
        let long = format!("[[endpoint]]\nname = \"{}\"", "n".repeat(TEXT_MAX + 1));
        let key = format!("{} = 1", "k".repeat(TEXT_MAX + 1));
        let values = format!("x = [{}]", "1,".repeat(VALUES_MAX));
        for (text, place, expected) in [
            (&many, format!("d.toml:{}:1", OBJECTS_MAX + 1), "more than 50000 objects"),
            (&nested, "d.toml:1:24".to_owned(), "more than 16 deep"),
            (&long, "d.toml:2:8".to_owned(), "has 4097 bytes, and 4096 are allowed"),
            (&key, "d.toml:1:1".to_owned(), "has 4097 bytes, and 4096 are allowed"),
            (&values, format!("d.toml:1:{}", 6 + 2 * (VALUES_MAX - 1)), "more than 1000000 values"),
        ] {
            let said = refused(text);
            assert!(said.starts_with(&format!("{place}: error: ")), "{expected}: {said:.300}");
            assert!(said.contains(expected) && said.contains("remedy: "), "{said:.600}");
            assert!(said.ends_with("\n1 error"), "nothing else is looked at: {said:.600}");
        }
    }

    #[test]
    fn brackets_without_end_are_a_mistake_and_nothing_worse() {
        for text in [format!("a = {}", "[".repeat(1 << 20)), format!("a = {}", "{b = ".repeat(1 << 18))] {
            assert!(refused(&text).starts_with("d.toml:1:"));
        }
    }
}
