//! For tests: whatever a command is answered is searched for names that its caller may not know. Words that a refusal
//! gives as [`itself`](crate::model::sentence::itself) are not looked at by types; every test that applies a command
//! as somebody who does not see everything looks at them here.

use std::fmt;

use super::{Caller, Named};
use crate::access::rights::visibility::may_mention;
use crate::control::outcome::Outcome;
use crate::control::views::View;
use crate::model::Model;
use crate::model::error::Error;
use crate::model::state::{Item, ItemKind};

/// Shorter names are words of other meanings, too.
const SHORTEST: usize = 5;

fn names(model: &Model) -> Vec<Item> {
    // What roles there are is no secret, and who has one is told by a hash.
    model.items().filter(|item| !matches!(item.kind, ItemKind::Role | ItemKind::Assignment)).collect()
}

/// Whether `text` holds `name` as a word.
fn says(text: &str, name: &str) -> bool {
    let inside = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '-');
    text.match_indices(name)
        .any(|(at, _)| !inside(text[..at].chars().next_back()) && !inside(text[at + name.len()..].chars().next()))
}

/// The names of `view` that `told` gives to `caller`, who neither sees what has them nor said them in `command`.
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
    // What it knows already: its own words, and what the objects say that it sees.
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
