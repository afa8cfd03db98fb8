//! `[[role]]` and `[[assignment]]` to the model.

use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr;

use super::build::Builder;
use super::file::{Assignment, File, Role};
use super::read::{At, OneOrMany, nearest};
use super::report::Mistake;
use crate::model::{Key, Malformed, RoleAssignment, RoleDefinition, RoleName, built_in};

impl Builder {
    /// Builds every role, and then every assignment: of those, of the built-in ones, or of live ones.
    pub(super) fn access(&mut self, file: &File) {
        for table in file.roles.iter().flatten() {
            if let Some(role) = self.role(table) {
                self.model.roles.insert(Key::global(role.name.to_string()), role);
            }
        }
        let unread = file.broken && file.roles.is_none() || file.roles.iter().flatten().any(|role| role.broken);
        for table in file.assignments.iter().flatten() {
            if let Some(given) = self.assignment(table, unread) {
                self.model.assignments.insert(Key::global(given.id().to_string()), given);
            }
        }
    }

    fn role(&mut self, table: &Role) -> Option<RoleDefinition> {
        let name: Option<RoleName> = table.name.as_ref().and_then(|name| self.understood(name));
        let actions = self.all_understood(table.actions.as_ref());
        let not_actions = self.all_understood(table.not_actions.as_ref());
        let (name, span) = (name?, &table.name.as_ref()?.span);
        if built_in().iter().any(|role| role.name == name) {
            self.wrong(span, format!("the role `{name}` is built in"), "choose another name");
            return None;
        }
        if self.model.roles.contains_key(&Key::global(name.to_string())) {
            let remedy = "choose another name; names are compared without regard to case";
            self.wrong(span, format!("a second role named `{name}`"), remedy);
            return None;
        }
        if table.actions.as_ref().is_some_and(|list| list.items.is_empty()) && !table.broken {
            self.wrong(
                &table.span,
                format!("the role `{name}` gives nothing"),
                "name at least one action in `actions`",
            );
        }
        let description = table.description.as_ref().map(|text| text.value.clone()).unwrap_or_default();
        let named = table.assignable_scopes.as_ref();
        let assignable_scopes =
            if named.is_some() { self.all_understood(named) } else { vec![crate::model::Scope::root()] };
        Some(RoleDefinition { name, description, actions, not_actions, assignable_scopes })
    }

    fn assignment(&mut self, table: &Assignment, unread: bool) -> Option<RoleAssignment> {
        let principal = table.principal.as_ref().and_then(|text| self.understood(text));
        let role = table.role.as_ref().and_then(|text| self.understood(text));
        let scope = table.scope.as_ref().and_then(|text| self.understood(text));
        let role = role.filter(|role| unread || self.known_role(role, table));
        let given = RoleAssignment { principal: principal?, role: role?, scope: scope? };
        if self.model.assignments.contains_key(&Key::global(given.id().to_string())) {
            self.wrong(&table.span, "the same assignment a second time", "remove one of the two");
        }
        Some(given)
    }

    /// Whether there is such a role; otherwise that is noted.
    fn known_role(&mut self, role: &RoleName, table: &Assignment) -> bool {
        let own = [&self.model.roles, &self.live.roles].into_iter().flat_map(|roles| roles.values().map(|r| &r.name));
        let names: BTreeSet<String> =
            built_in().iter().map(|role| &role.name).chain(own).map(ToString::to_string).collect();
        if names.iter().any(|name| name.parse().as_ref() == Ok(role)) {
            return true;
        }
        let text = role.to_string();
        let remedy = nearest(&text, names.iter().map(String::as_str)).map_or_else(
            || {
                let listed: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("define it as a [[role]], or use one of {}", listed.join(", "))
            },
            |near| format!("did you mean `{near}`?"),
        );
        let span = table.role.as_ref().map_or(table.span.clone(), |role| role.span.clone());
        if self.unknown_may_live {
            let message = format!("there is no role `{text}` in this file; `apply` looks for it in the live state");
            self.mistakes.push(Mistake::warning(span, message, remedy));
            return true;
        }
        self.wrong(&span, format!("there is no role `{text}`"), &remedy);
        false
    }

    fn all_understood<T: FromStr<Err = Malformed>>(&mut self, list: Option<&OneOrMany<String>>) -> Vec<T> {
        list.iter().flat_map(|list| &list.items).filter_map(|text| self.understood(text)).collect()
    }

    fn understood<T: FromStr<Err = Malformed>>(&mut self, text: &At<String>) -> Option<T> {
        let read: Result<T, Malformed> = text.value.parse();
        read.map_err(|malformed| self.wrong(&text.span, malformed.message(), malformed.remedy())).ok()
    }

    fn wrong(&mut self, span: &Range<usize>, message: impl Into<String>, remedy: &str) {
        self.mistakes.push(Mistake::error(span.clone(), message, remedy));
    }
}
