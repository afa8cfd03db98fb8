//! A namespace that is deleted, or made anew under its name, while a VNet is attached to it: the daemon says so.

use crate::doctor::{core, examine, file, lab, names_it, spoke};
use crate::lab::{Daemon, ask, eventually, ip, isolated, json, read_log};
use crate::support::dns::{RESOLVER, answers, public_server};

const NAME: &str = "account.blob.core.windows.net";

/// Code, severity and message of what `status` says about namespaces.
fn conditions() -> Vec<(String, String, String)> {
    let status = json("status");
    let all = status["conditions"].as_array().expect("conditions").iter();
    let text = |condition: &serde_json::Value, name: &str| condition[name].as_str().expect(name).to_owned();
    let ours = all.filter(|condition| text(condition, "code").starts_with("Namespace"));
    ours.map(|one| {
        assert!(text(one, "remedy").contains("restart privlink"), "{one}");
        (text(one, "code"), text(one, "severity"), text(one, "message"))
    })
    .collect()
}

fn said(code: &str, severity: &str, what: &str) {
    let all = conditions();
    let one = |(c, s, message): &(String, String, String)| c == code && s == severity && message.contains(what);
    assert!(all.iter().any(one), "{code} {severity} {what}: {all:?}");
}

#[test]
fn a_namespace_made_anew_is_named_by_status_and_doctor_until_a_restart() {
    isolated("namespaces::a_namespace_made_anew_is_named_by_status_and_doctor_until_a_restart", || {
        lab();
        let public = public_server("spoke", "10.1.0.53");
        let listen = format!("listen = \"{RESOLVER}\"");
        let daemon = Daemon::start(&file(&listen));
        let resolved = || answers("spoke", RESOLVER, NAME) == ["10.1.9.8"];
        eventually("the resolver answers", resolved);
        assert_eq!(conditions(), []);
        assert_eq!(examine("spoke", RESOLVER, NAME).0, Some(0));

        ip("netns del core");
        said("NamespaceDeleted", "warning", "core, where VNet default/core is attached, was deleted");
        core();
        said("NamespaceReplaced", "error", "core was deleted and made anew: VNet default/core is attached to the old");
        assert_eq!(conditions().len(), 1);
        // The servers of the new namespace are not reached, and not to blame.
        let found = examine("spoke", RESOLVER, NAME);
        names_it("core anew", found, "daemon", "network namespace core was deleted and made anew", "restart privlink");
        eventually("the log says it", || read_log().contains("core was deleted and made anew"));

        ip("netns del spoke");
        spoke();
        said("NamespaceReplaced", "error", "spoke was deleted and made anew");
        let found = examine("spoke", RESOLVER, NAME);
        names_it(
            "spoke anew",
            found,
            "daemon",
            "network namespace spoke was deleted and made anew",
            "restart privlink",
        );
        assert!(ask("status").starts_with("error: network namespace"), "{}", ask("status"));

        daemon.stop();
        drop(public);
        let _public = public_server("spoke", "10.1.0.53");
        let _daemon = Daemon::again(&[]);
        assert_eq!(conditions(), []);
        eventually("the resolver answers", resolved);
        assert_eq!(examine("spoke", RESOLVER, NAME).0, Some(0), "attached to what is there");
    });
}
