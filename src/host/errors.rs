//! Errors that whoever starts a daemon tells apart.

use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::anyhow;

/// Something on this host is somebody else's: an address, a route, a device, a lock.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InUse(pub(super) String);

/// Names the file that could not be written, and what helps where no room is left for it.
pub(super) fn unwritable(path: &Path) -> impl Fn(io::Error) -> anyhow::Error + '_ {
    |error| {
        if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            return anyhow!("no room is left for {}: free space there and try again", path.display());
        }
        anyhow!("cannot write {}: {error}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_by_its_file_and_its_remedy() {
        let say = |kind: ErrorKind| unwritable(Path::new("/run/privlink/host.lock"))(kind.into()).to_string();
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            assert_eq!(say(kind), "no room is left for /run/privlink/host.lock: free space there and try again");
        }
        assert!(say(ErrorKind::PermissionDenied).starts_with("cannot write /run/privlink/host.lock: "));
    }
}
