//! The control plane: the single writer of everything that may change.

/// The model.
pub mod model;

/// What the control plane asks of the packet path and of the host.
pub mod ports;

/// What must hold between the objects of a model.
pub mod validate;
