//! An object of the model by kind and name.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::Key;

/// An object of the model, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Item {
    /// Its kind.
    pub kind: ItemKind,
    /// Its name.
    pub key: Key,
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

macro_rules! item_kind {
    ($($(#[$doc:meta])* $kind:ident: $type:ident in $field:ident,)*) => {
        /// The kinds of objects that a model names by key, in the order in which they depend on each other.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr)]
        #[serde(rename_all = "snake_case")]
        #[strum(serialize_all = "snake_case")]
        pub enum ItemKind {
            $($(#[$doc])* $kind,)*
        }

        impl ItemKind {
            /// Every kind.
            pub const ALL: [Self; [$(Self::$kind),*].len()] = [$(Self::$kind),*];

            /// The name of its table in a file.
            pub fn table(self) -> &'static str {
                self.into()
            }
        }
    };
}

kinds! { [item_kind] }
