//! In-memory device.
