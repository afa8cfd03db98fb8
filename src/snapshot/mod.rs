//! The only thing the control plane and the packet path share.
//!
//! A `Snapshot` is immutable and complete: whatever a worker needs to judge a packet. The control
//! plane compiles one, publishes it through `publish::Publisher`, and every worker loads it once
//! per batch, so all packets of a batch see one policy (law 7).

/// Ids, addresses and the words both planes use.
pub mod ids;

/// Endpoints, resources, targets: what a packet is matched against.
pub mod tables;

/// How a snapshot is filled.
pub mod builder;

/// Sets of prefixes and the longest-prefix questions asked of them.
pub mod prefixes;

/// How many endpoints share what there is a bound to.
pub mod contenders;

/// How much may pass in a second.
pub mod rates;

/// Why packets are dropped.
pub mod drop_reason;

/// `judge()`: checks 2 to 6, for the packet path and for `explain`.
pub mod policy;

/// One atomic pointer, one reader per worker, and the acknowledgement of law 5.
pub mod publish;

/// Which worker a packet belongs to; the steering program computes the same.
pub mod steering;

/// How much the way behind each attachment carries.
pub mod path_mtu;

/// What resolvers answer from.
pub mod dns;

/// What this host must look like: devices, routes, rules.
pub mod topology;

pub use builder::SnapshotBuilder;
pub use contenders::Contenders;
pub use drop_reason::DropReason;
pub use ids::{AttachmentId, ConnectionState, EndpointId, Generation, Protocol, ResourceId, TargetId};
pub use path_mtu::PathMtus;
pub use policy::{Admission, Denial, Query};
pub use publish::{Publisher, Reader};
pub use rates::{Limits, Meter, Metered, Rates};
pub use tables::{
    Attachment, Backend, BackendState, Balance, Endpoint, Peer, PortMap, Resource, Settings, Silent, Snapshot, Target,
    Timeouts,
};
