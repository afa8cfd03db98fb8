//! The DNS plan of every VNet: accepted names of endpoints, and private zones.

/// Which names a network accepts.
mod consent;

/// Makes the plan from the model.
mod plan;

pub use consent::{Waiting, waiting, waiting_at_home, waiting_in};
pub use plan::{Planner, plan};

#[cfg(test)]
mod tests;
