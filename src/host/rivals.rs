//! Other daemons on this host. Two that route the same addresses take each other's packets, and one that ends takes the
//! routes and rules of the other along; so the second is refused, and told who holds what it wants.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::lock;
use super::netns::NamespaceId;
use super::step::{Action, Step};
use super::survey::Survey;
use crate::snapshot::topology::AddressInUse;

/// Longer command lines are cut in messages.
const MAX_COMMAND_LINE: usize = 200;

/// Refuses `steps` that concern what routes of another daemon lead to; `is_own` tells this daemon's devices. Policy rules
/// are the same for every daemon of a namespace, so only one of them may have any.
///
/// # Errors
/// Names the route, its device, who holds that, and what to do.
pub(super) fn refuse<'a>(
    steps: impl Iterator<Item = &'a Step>,
    surveys: &[Arc<Survey>],
    is_own: impl Fn(&NamespaceId, &str) -> bool,
) -> anyhow::Result<()> {
    let foreign: Vec<(&NamespaceId, &IpNet, &str)> = surveys
        .iter()
        .flat_map(|survey| survey.ours.iter().map(move |(prefix, device)| (&survey.namespace, prefix, device.as_str())))
        .filter(|(namespace, _, device)| !is_own(namespace, device))
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    for step in steps {
        // What is needed there, and the prefix that it is about; a rule is about every one.
        let (what, wanted) = match &step.action {
            Action::Unreachable { prefix, .. } | Action::Route { prefix, .. } => (prefix.to_string(), Some(*prefix)),
            Action::Rule(rule) => (format!("`{rule}`"), None),
            Action::Sysctl { .. }
            | Action::Device { .. }
            | Action::Quiet { .. }
            | Action::Up { .. }
            | Action::Address { .. }
            | Action::Neighbour { .. } => continue,
        };
        let clashes = |held: &IpNet| wanted.is_none_or(|wanted| held.contains(&wanted) || wanted.contains(held));
        let taken = foreign.iter().find(|(namespace, held, _)| **namespace == step.namespace && clashes(held));
        if let Some((namespace, held, device)) = taken {
            return Err(AddressInUse(format!(
                "namespace {namespace} routes {held} to {device}, which {} holds; this daemon would need {what} there: \
                 stop that one first, or give each daemon networks or a namespace of its own",
                Holder::of(namespace, device, std::process::id())
            ))
            .into());
        }
    }
    Ok(())
}

/// Who holds a device, as far as it can be seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder(Option<(u32, String)>);

impl Holder {
    /// Looks for the process that has the lock file of `device` open: whatever its run directory is, the file's name
    /// says the device and the namespace. The process `own` is none: whoever asks has locked the name before.
    pub(super) fn of(namespace: &NamespaceId, device: &str, own: u32) -> Self {
        let wanted = lock::device_file(namespace, device);
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut processes = processes.filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            (pid != own && has_open(&entry.path(), &wanted)).then(|| (pid, command_line(&entry.path())))
        });
        Self(processes.next())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((pid, line)) if line.is_empty() => write!(f, "pid {pid}"),
            Some((pid, line)) => write!(f, "pid {pid} (`{line}`)"),
            None => f.write_str("another program"),
        }
    }
}

/// Whether the process at `process` (below `/proc`) has a file of this name open, in whatever directory.
fn has_open(process: &Path, name: &str) -> bool {
    let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| {
        // The kernel marks files that were removed.
        let file = target.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        file.trim_end_matches(" (deleted)") == name
    })
}

/// The command that a process was started with, in one line.
fn command_line(process: &Path) -> String {
    let bytes = fs::read(process.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ");
    line.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(MAX_COMMAND_LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::lock::Lock;
    use crate::host::step::{DEVICE_METRIC, MAIN_TABLE, Rule, RuleVerdict};
    use crate::host::survey::Forwards;

    fn namespace(inode: u64) -> NamespaceId {
        NamespaceId { name: Some("core".to_owned()), device: 4, inode }
    }

    fn survey(inode: u64, routes: &[(&str, &str)]) -> Arc<Survey> {
        let ours = routes.iter().map(|(prefix, device)| (prefix.parse().expect("a prefix"), (*device).to_owned()));
        Arc::new(Survey {
            namespace: namespace(inode),
            interfaces: Vec::new(),
            routes: Vec::new(),
            ours: ours.collect(),
            local: std::collections::BTreeMap::new(),
            gateways: std::collections::BTreeMap::new(),
            neighbours: std::collections::BTreeMap::new(),
            broadcast: std::collections::BTreeMap::new(),
            reverse_path_all: 0,
            forwards: Forwards { ipv4: true, ipv6: true },
        })
    }

    fn step(inode: u64, action: Action) -> Step {
        Step { namespace: namespace(inode), action }
    }

    fn unreachable(prefix: &str) -> Action {
        Action::Unreachable { prefix: prefix.parse().expect("a prefix"), table: MAIN_TABLE }
    }

    #[test]
    fn what_routes_of_another_daemon_lead_to_is_refused_and_nothing_else() {
        let rule = Rule { priority: DEVICE_METRIC, ipv6: false, input: None, verdict: RuleVerdict::Nop };
        let surveys = [survey(1, &[("10.20.99.4/32", "pl-a"), ("10.1.9.0/24", "pl-b")]), survey(2, &[])];
        let refused = |action: Action, inode, own: &str| {
            refuse([step(inode, action)].iter(), &surveys, |_, device| device == own)
                .err()
                .map(|error| error.to_string())
        };
        for (action, inode, own, expected) in [
            (
                unreachable("10.20.99.4/32"),
                1,
                "pl-b",
                Some("routes 10.20.99.4/32 to pl-a, which another program holds"),
            ),
            (unreachable("10.20.99.4/32"), 1, "pl-a", None),
            (unreachable("10.20.99.4/32"), 2, "", None),
            (unreachable("10.20.99.5/32"), 1, "", None),
            (unreachable("10.20.0.0/16"), 1, "", Some("10.20.99.4/32")),
            (unreachable("10.1.9.7/32"), 1, "", Some("10.1.9.0/24 to pl-b")),
            (Action::Rule(rule.clone()), 1, "pl-a", Some("pl-b")),
            (Action::Rule(rule), 2, "", None),
            (Action::Quiet { device: "pl-c".to_owned() }, 1, "", None),
        ] {
            let shown = format!("{action} in {inode}, own {own}");
            let said = refused(action, inode, own);
            assert_eq!(said.is_some(), expected.is_some(), "{shown}: {said:?}");
            assert!(said.unwrap_or_default().contains(expected.unwrap_or_default()), "{shown}");
        }
    }

    #[test]
    fn whoever_has_the_lock_file_open_holds_the_device() {
        let run_dir = std::env::temp_dir().join(format!("privlink-rivals-{}", std::process::id()));
        fs::create_dir_all(&run_dir).expect("made");
        let home = namespace(0xffff_0000_0001);
        assert_eq!(Holder::of(&home, "pl-held", 0), Holder(None));
        let lock = Lock::device(&run_dir, &home, "pl-held").expect("free");
        let Holder(Some((pid, line))) = Holder::of(&home, "pl-held", 0) else { panic!("nobody has it") };
        assert_eq!(pid, std::process::id());
        assert_eq!(Holder::of(&home, "pl-held", pid), Holder(None), "nobody is held up by itself");
        assert!(line.contains("privlink"), "{line}");
        assert_eq!(Holder::of(&namespace(0xffff_0000_0002), "pl-held", 0), Holder(None));
        fs::remove_dir_all(&run_dir).expect("removed");
        assert_ne!(Holder::of(&home, "pl-held", 0), Holder(None), "its run directory is gone, the daemon is not");
        drop(lock);
    }
}
