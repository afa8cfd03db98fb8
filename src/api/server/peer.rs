//! Identifies the peer of a Unix socket: the ids that the kernel reports, and the groups of the process.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::unix::UCred;

use crate::model::{Caller, Subject};

/// The caller with these ids, the uid's name in `/etc/passwd`, and the process's groups. If the process has ended or
/// changed its ids, the user's groups in `/etc/group` are used.
pub(in crate::api) fn caller(peer: UCred) -> Caller {
    let (uid, gid) = (peer.uid(), peer.gid());
    let name = name_of(uid);
    let groups = peer.pid().and_then(Pid::from_raw).and_then(|pid| groups_of(pid, uid));
    let groups = groups.unwrap_or_else(|| name.as_deref().map_or_else(Vec::new, listed_groups));
    let subject = Subject::peer(uid, std::iter::once(gid).chain(groups));
    Caller { subject, name: name.unwrap_or_else(|| format!("uid:{uid}")) }
}

/// The supplementary groups of the process `pid`, if all its uids are `uid`. The pidfd shows that the number was not
/// reused while reading; the check of `uid` excludes a reuse before that.
fn groups_of(pid: Pid, uid: u32) -> Option<Vec<u32>> {
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let groups = groups_in(&status, uid)?;
    // The process is still alive, so the groups are its own: the pidfd of an ended process becomes readable.
    let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&Timespec::default())).ok()? > 0;
    (!ended).then_some(groups)
}

/// `Groups:` of a `/proc/PID/status` whose four uids are `uid` (proc(5)).
fn groups_in(status: &str, uid: u32) -> Option<Vec<u32>> {
    let numbers = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    (numbers("Uid:")? == [uid; 4]).then(|| numbers("Groups:")).flatten()
}

fn name_of(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields[0].to_owned())
    })
}

fn listed_groups(name: &str) -> Vec<u32> {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let lists = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let id = fields.get(2)?.parse().ok()?;
        fields.get(3)?.split(',').any(|member| member == name).then_some(id)
    };
    groups.lines().filter_map(lists).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_a_process_that_is_the_user_through_and_through() {
        let status = |uids: &str| format!("Name:\tx\nUid:\t{uids}\nGid:\t7\t7\t7\t7\nGroups:\t4 20 1000 \n");
        assert_eq!(groups_in(&status("1000\t1000\t1000\t1000"), 1000), Some(vec![4, 20, 1000]));
        assert_eq!(groups_in(&status("1000\t0\t0\t0"), 1000), None, "a program that is somebody else by now");
        assert_eq!(groups_in(&status("1001\t1001\t1001\t1001"), 1000), None, "another process");
        assert_eq!(groups_in("", 1000), None);
    }

    #[test]
    fn a_process_that_has_ended_has_no_groups() {
        let uid = rustix::process::getuid().as_raw();
        let own: Option<Vec<u32>> =
            rustix::process::getgroups().ok().map(|groups| groups.iter().map(|gid| gid.as_raw()).collect());
        assert_eq!(groups_of(rustix::process::getpid(), uid), own);
        let mut child = std::process::Command::new("true").spawn().expect("spawned");
        let pid = Pid::from_child(&child);
        child.wait().expect("ended");
        assert_eq!(groups_of(pid, uid), None);
    }
}
