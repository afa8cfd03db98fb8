//! `[[role]]` and `[[assignment]]` to the model.

use std::collections::BTreeSet;
use std::ops::Range;

use super::build::Builder;
use super::file::File;
use super::read::{At, nearest};
use super::report::Mistake;
use super::spec::Spec;
use crate::model::rules::Object;
use crate::model::{Key, RoleAssignment, RoleDefinition, RoleName, built_in};

impl Builder {
    /// Builds every role, and then every assignment: of those, of the built-in ones, or of live ones.
    pub(super) fn access(&mut self, file: &File) {
        for spec in file.roles.iter().flatten() {
            if let Some(role) = self.role(spec) {
                self.model.roles.insert(Key::global(role.name.to_string()), role);
            }
        }
        let unread = file.broken && file.roles.is_none() || file.roles.iter().flatten().any(|role| role.broken);
        for spec in file.assignments.iter().flatten() {
            if let Some(given) = self.assignment(spec, unread) {
                self.model.assignments.insert(Key::global(given.id().to_string()), given);
            }
        }
    }

    fn role(&mut self, spec: &Spec<RoleDefinition>) -> Option<RoleDefinition> {
        let name = spec.text("name")?;
        let key = Key::global(&*name.value);
        let role: RoleDefinition = self.object(&Object::Role(key.clone()), &key, spec)?;
        if built_in().iter().any(|built_in| built_in.name == role.name) {
            self.wrong(&name.span, format!("the role `{}` is built in", role.name), "choose another name");
            return None;
        }
        if self.model.roles.contains_key(&key) {
            let remedy = "choose another name; names are compared without regard to case";
            self.wrong(&name.span, format!("a second role named `{}`", role.name), remedy);
            return None;
        }
        if role.actions.is_empty() && !spec.broken {
            let message = format!("the role `{}` gives nothing", role.name);
            self.wrong(&spec.span, message, "name at least one action in `actions`");
        }
        Some(role)
    }

    fn assignment(&mut self, spec: &Spec<RoleAssignment>, unread: bool) -> Option<RoleAssignment> {
        let role = spec.text("role").filter(|role| unread || self.known_role(role));
        let key = Key::nowhere();
        let given: RoleAssignment = self.object(&Object::Assignment(key.clone()), &key, spec)?;
        role?;
        if self.model.assignments.contains_key(&Key::global(given.id().to_string())) {
            self.wrong(&spec.span, "the same assignment a second time", "remove one of the two");
        }
        Some(given)
    }

    /// Whether there is such a role; otherwise that is noted.
    fn known_role(&mut self, role: &At<String>) -> bool {
        let (text, span) = (&role.value, &role.span);
        let Ok(role) = text.parse::<RoleName>() else { return true };
        let own = [&self.model.roles, &self.live.roles].into_iter().flat_map(|roles| roles.values().map(|r| &r.name));
        let names: BTreeSet<String> =
            built_in().iter().map(|role| &role.name).chain(own).map(ToString::to_string).collect();
        if names.iter().any(|name| name.parse().as_ref() == Ok(&role)) {
            return true;
        }
        let remedy = nearest(text, names.iter().map(String::as_str)).map_or_else(
            || {
                let listed: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("define it as a [[role]], or use one of {}", listed.join(", "))
            },
            |near| format!("did you mean `{near}`?"),
        );
        if self.unknown_may_live {
            let message = format!("there is no role `{text}` in this file; `apply` looks for it in the live state");
            self.mistakes.push(Mistake::warning(span.clone(), message, remedy));
            return true;
        }
        self.wrong(span, format!("there is no role `{text}`"), &remedy);
        false
    }

    fn wrong(&mut self, span: &Range<usize>, message: impl Into<String>, remedy: &str) {
        self.mistakes.push(Mistake::error(span.clone(), message, remedy));
    }
}
