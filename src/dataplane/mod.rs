//! The packet path: one thread per queue, sans-IO below `Worker`.

/// Where packets come from and go to.
pub mod device;

/// What workers publish and everyone else may read.
pub mod counters;

/// Questions to a worker.
pub mod mailbox;

/// How a packet ends.
pub mod verdict;
