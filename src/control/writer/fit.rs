//! Checks a change against the state in force. A tightened rule applies only to what the change brings. In the daemon's
//! own file, an object that collides with a live one is left out, so that it does not stop the rest.

use std::collections::BTreeMap;

use super::super::apply::{Application, merge};
use super::{Setup, refused};
use crate::model::error::Error;
use crate::model::rules::Violation;
use crate::model::rules::tightened::{Standing, judge, not_in};
use crate::model::state::DAEMON;
use crate::model::state::{ControlState, Item};
use crate::model::text;
use crate::model::{HostConfig, Model};
use crate::types::ApplyReport;

/// How often a file is merged again after a collision. Each round also leaves out objects that depend on those left out
/// before.
const ROUNDS: usize = 16;

/// The state before a change.
#[derive(Clone, Copy)]
pub(in crate::control) struct Before<'a> {
    pub(in crate::control) state: &'a ControlState,
    /// Host settings, with the attachments.
    pub(in crate::control) host: &'a HostConfig,
    /// Objects that break a tightened rule. `None`: not known yet.
    pub(in crate::control) standing: Option<&'a Standing>,
}

/// The state after a file was merged.
pub(in crate::control) struct Fitted {
    pub(in crate::control) state: ControlState,
    pub(in crate::control) report: ApplyReport,
    pub(in crate::control) standing: Standing,
}

impl Before<'_> {
    /// Checks `after` as a whole, and returns older objects in it that break tightened rules.
    ///
    /// # Errors
    /// The violations that refuse the change.
    pub(in crate::control) fn judge(&self, setup: &Setup, after: &ControlState) -> Result<Standing, Vec<Violation>> {
        let validate = |model: &Model| (setup.validate)(model, self.host, None);
        let found = validate(&after.model);
        let known = || self.standing.map_or_else(|| validate(&self.state.model), |list| list.iter().cloned().collect());
        let standing = judge(&found, known).or_else(|_| {
            // Objects of the daemon's previous file are not new either.
            let mut known = known();
            let last = self.state.files.get(&DAEMON.to_owned()).map(|file| validate(&file.model));
            known.extend(not_in(&last.unwrap_or_default(), &known));
            judge(&found, || known)
        });
        standing.map(Standing::from)
    }

    /// Merges `application` with the state in force. Objects of the daemon's own file that are valid by themselves but
    /// collide with live ones are skipped.
    ///
    /// # Errors
    /// The result breaks a rule, or the caller lacks a right.
    pub(in crate::control) fn fit(&self, setup: &Setup, application: Application<'_>) -> Result<Fitted, Error> {
        let mut skipped: BTreeMap<Item, String> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let (state, report) = merge(self.state, &Application { skipped: &skipped, ..application })?;
            match self.judge(setup, &state) {
                Ok(standing) => {
                    text::judge(self.state, &state, None)?;
                    return Ok(Fitted { state, report, standing });
                }
                Err(broken) => {
                    let collisions = self.collisions(setup, &application, &state, &broken);
                    if application.author != DAEMON || collisions.is_empty() {
                        return Err(refused(&broken));
                    }
                    skipped.extend(collisions);
                }
            }
        }
        let (state, report) = merge(self.state, &Application { skipped: &skipped, ..application })?;
        let standing = self.judge(setup, &state).map_err(|broken| refused(&broken))?;
        text::judge(self.state, &state, None)?;
        Ok(Fitted { state, report, standing })
    }

    /// The objects of the file that cause the `broken` rules, although the file alone breaks none.
    fn collisions(
        &self,
        setup: &Setup,
        application: &Application<'_>,
        after: &ControlState,
        broken: &[Violation],
    ) -> BTreeMap<Item, String> {
        let alone = (setup.validate)(application.file, self.host, None);
        let changed = |item: &Item| application.file.has(item) && !self.state.model.agrees(&after.model, item);
        let culprit = |violation: &Violation| {
            let mut objects = std::iter::once(&violation.at.object).chain(&violation.involves);
            let item = objects.find_map(|object| object.item().filter(&changed))?;
            Some((item, format!("{}; {}", violation.message, violation.remedy)))
        };
        not_in(broken, &alone).iter().filter_map(culprit).collect()
    }
}
