//! For tests: searches the result of each command for names that the caller may not know. The types cannot check text
//! made by [`itself`](crate::model::sentence::itself), so every test with a restricted caller checks it here.

use std::fmt;

use super::{Caller, Named};
use crate::access::rights::visibility::may_mention;
use crate::control::outcome::Outcome;
use crate::control::views::View;
use crate::model::Model;
use crate::model::error::Error;
use crate::model::state::{Item, ItemKind};

/// Shorter names also occur as ordinary words.
const SHORTEST: usize = 5;

fn names(model: &Model) -> Vec<Item> {
    // The list of roles is public, and assignments are named by a hash.
    model.items().filter(|item| !matches!(item.kind, ItemKind::Role | ItemKind::Assignment)).collect()
}

/// Whether `text` holds `name` as a word.
fn says(text: &str, name: &str) -> bool {
    let inside = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '-');
    text.match_indices(name)
        .any(|(at, _)| !inside(text[..at].chars().next_back()) && !inside(text[at + name.len()..].chars().next()))
}

/// Names from `view` in `told` that `caller` neither sees nor used in `command`.
pub(in crate::control) fn found(
    view: &View,
    caller: &Caller,
    command: &impl fmt::Debug,
    told: &Result<impl Outcome, Error>,
) -> Vec<String> {
    if view.is_whole_to(caller) {
        return Vec::new();
    }
    let (rights, whole) = (view.rights(caller), &view.state.model);
    let text = told.as_ref().map_or_else(ToString::to_string, ToString::to_string).to_lowercase();
    // Names that the caller knows: from its own command, and from objects that it sees.
    let said = format!("{command:?}");
    let known = format!("{said} {caller} {:?}", view.seen_by_author(caller, &said, false)).to_lowercase();
    let hidden = |item: &Item| {
        let name = item.key.name.to_lowercase();
        name.len() >= SHORTEST
            && says(&text, &name)
            && !known.contains(&name)
            && !may_mention(&rights, whole, &Named::Item(item.clone()))
    };
    names(whole).iter().filter(|item| hidden(item)).map(ToString::to_string).collect()
}
