//! A change among what is in force: by tightened rules only what it brings is judged, and of the daemon's own file an
//! object that collides with a live one is left out instead of stopping the rest.

use std::collections::BTreeMap;

use super::super::apply::{Application, merge};
use super::super::report::Report;
use super::{Setup, refused};
use crate::model::decisions::DAEMON;
use crate::model::decisions::{Decisions, Item};
use crate::model::refusal::Refusal;
use crate::model::rules::Violation;
use crate::model::rules::tightened::{Standing, judge, not_in};
use crate::model::text;
use crate::model::{HostConfig, Model};

/// How often a file is merged anew because something of it collides: what depends on an object that was left out is
/// left out by the next round.
const ROUNDS: usize = 16;

/// What is in force before a change.
#[derive(Clone, Copy)]
pub(in crate::control) struct Before<'a> {
    pub(in crate::control) decisions: &'a Decisions,
    /// What attachments allow.
    pub(in crate::control) host: &'a HostConfig,
    /// What of it breaks a tightened rule; `None`: not known yet.
    pub(in crate::control) standing: Option<&'a Standing>,
}

/// A file that was merged with what was in force.
pub(in crate::control) struct Fitted {
    pub(in crate::control) decisions: Decisions,
    pub(in crate::control) report: Report,
    pub(in crate::control) standing: Standing,
}

impl Before<'_> {
    /// Checks `after` as a whole, and returns what stands in it against tightened rules.
    ///
    /// # Errors
    /// What refuses the change.
    pub(in crate::control) fn judge(&self, setup: &Setup, after: &Decisions) -> Result<Standing, Vec<Violation>> {
        let validate = |model: &Model| (setup.validate)(model, self.host, None);
        let found = validate(&after.model);
        let known =
            || self.standing.map_or_else(|| validate(&self.decisions.model), |list| list.iter().cloned().collect());
        let standing = judge(&found, known).or_else(|_| {
            // What the daemon's file said when it was last applied is not new either.
            let mut known = known();
            let last = self.decisions.files.get(&DAEMON.to_owned()).map(|file| validate(&file.model));
            known.extend(not_in(&last.unwrap_or_default(), &known));
            judge(&found, || known)
        });
        standing.map(Standing::from)
    }

    /// Merges `application` with what is in force. Objects of the daemon's own file that hold by themselves and collide
    /// with live ones are skipped.
    ///
    /// # Errors
    /// The result breaks a rule, or the caller lacks a right.
    pub(in crate::control) fn fit(&self, setup: &Setup, application: Application<'_>) -> Result<Fitted, Refusal> {
        let mut skipped: BTreeMap<Item, String> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let (decisions, report) = merge(self.decisions, &Application { skipped: &skipped, ..application })?;
            match self.judge(setup, &decisions) {
                Ok(standing) => {
                    text::judge(self.decisions, &decisions, None)?;
                    return Ok(Fitted { decisions, report, standing });
                }
                Err(broken) => {
                    let collisions = self.collisions(setup, &application, &decisions, &broken);
                    if application.author != DAEMON || collisions.is_empty() {
                        return Err(refused(&broken));
                    }
                    skipped.extend(collisions);
                }
            }
        }
        let (decisions, report) = merge(self.decisions, &Application { skipped: &skipped, ..application })?;
        let standing = self.judge(setup, &decisions).map_err(|broken| refused(&broken))?;
        text::judge(self.decisions, &decisions, None)?;
        Ok(Fitted { decisions, report, standing })
    }

    /// What of the file leads to the rules that are `broken`, although the file by itself keeps them.
    fn collisions(
        &self,
        setup: &Setup,
        application: &Application<'_>,
        after: &Decisions,
        broken: &[Violation],
    ) -> BTreeMap<Item, String> {
        let alone = (setup.validate)(application.file, self.host, None);
        let changed = |item: &Item| application.file.has(item) && !self.decisions.model.agrees(&after.model, item);
        let culprit = |violation: &Violation| {
            let mut objects = std::iter::once(&violation.at.object).chain(&violation.involves);
            let item = objects.find_map(|object| object.item().filter(&changed))?;
            Some((item, format!("{}; {}", violation.message, violation.remedy)))
        };
        not_in(broken, &alone).iter().filter_map(culprit).collect()
    }
}
