//! What every VNet's resolver answers: the names of endpoints, as far as its network accepts them, and private zones.

/// Which names a network lets answer.
mod consent;

/// From the model to the plan.
mod plan;

pub use consent::{Waiting, waiting, waiting_at_home, waiting_in};
pub use plan::{Planner, plan};

#[cfg(test)]
mod tests;
