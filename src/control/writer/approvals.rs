//! Approvals that expire.

use jiff::Timestamp;

use super::plan::{Planning, PreparedChange, ProposedState};
use crate::control::codec::Record;
use crate::control::difference::of_connection;
use crate::control::outcome::DecidedAll;
use crate::control::views::at;
use crate::model::Key;
use crate::model::error::Error;
use crate::model::state::{ChangeExtent, ControlState, DecidedBy};
use crate::snapshot::ConnectionState;

/// The reason that records and the consumer see for an expired approval.
const ENDED: &str = "approval ended";

impl Planning<'_> {
    /// Ends every expired approval. `None`: there is none.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub(in crate::control) fn end_approvals(&self) -> Result<Option<PreparedChange<DecidedAll>>, Error> {
        let over: Vec<Key> = self.in_force.index.over(self.now()).cloned().collect();
        let mut after = ControlState::clone(&self.in_force.state);
        let records: Vec<Record> = over.iter().filter_map(|key| self.end_approval(&mut after, key)).collect();
        if records.is_empty() {
            return Ok(None);
        }
        let only = if let [key] = over.as_slice() { Some(key.clone()) } else { None };
        self.change(DecidedAll::default(), self.connections_alone(after, only), records).map(Some)
    }

    /// Ends the approval of the endpoint `key`, if it has one that expires.
    fn end_approval(&self, after: &mut ControlState, key: &Key) -> Option<Record> {
        end_approval(after, key, self.now()).map(|record| Record { by: self.caller.actor(), ..record })
    }

    /// A new state that differs in connections only. No validated part has changed, and nothing may delay a revocation.
    pub(in crate::control) fn connections_alone(&self, after: ControlState, only: Option<Key>) -> ProposedState {
        let standing = Some(self.in_force.standing.clone());
        let extent = only.map_or(ChangeExtent::Whole, ChangeExtent::Endpoint);
        ProposedState { after, extent, addresses: None, standing, asks_rights: false }
    }
}

/// Ends the approval of the endpoint `key` at `now`, if it has one that expires. The caller fills in the record's
/// author.
pub(super) fn end_approval(state: &mut ControlState, key: &Key, now: Timestamp) -> Option<Record> {
    let before = state.connections.get(key)?.clone();
    let end = before.ends_at?;
    let after = before.decided(ConnectionState::Rejected, ENDED.to_owned(), DecidedBy::ApprovalEnded, now);
    let record = Record {
        link: Some(after.link),
        resource_type: None,
        scope: None,
        from: Some(before.state.to_string()),
        to: Some(after.state.to_string()),
        detail: format!("{ENDED}: it was given until {}", at(end)),
        ..Record::new(now, after.requester.clone(), "end", format!("connection {key}"))
    };
    let record = record.with(of_connection(Some(&before), Some(&after)));
    state.connections.insert(key.clone(), after);
    Some(record)
}
