//! A file to begin with, and the JSON schema of every file.

use schemars::Schema;
use schemars::transform::{RecursiveTransform, Transform as _};

use super::file::File;
use super::schema::tidy;

/// A commented file that works as it stands: two networks, a PostgreSQL server, an approved and a pending endpoint.
pub fn template() -> &'static str {
    include_str!("template.toml")
}

/// The JSON schema of the file, for editors (`privlink gen schema`).
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::generate::SchemaGenerator::default().into_root_schema_for::<File>();
    schema.insert("title".to_owned(), "privlink".into());
    RecursiveTransform(|schema: &mut Schema| {
        tidy(schema);
        without_own_keywords(schema);
    })
    .transform(&mut schema);
    schema.into()
}

/// Takes out what only the reader of the file knows (see [`crate::model::spelled`]).
fn without_own_keywords(schema: &mut Schema) {
    if let Some(keywords) = schema.as_object_mut() {
        keywords.retain(|keyword, _| !keyword.starts_with("x-"));
    }
}
