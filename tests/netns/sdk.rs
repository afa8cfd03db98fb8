//! The unmodified Azure SDK against the daemon over HTTPS, with packets after every step.

use std::fs;
use std::process::Command;

use crate::lab::{Daemon, ask, daemon_table, isolated, leg};
use crate::peers::serve;

const PROVIDER: &str = "11111111-1111-4111-8111-111111111111";
const CONSUMER: &str = "22222222-2222-4222-8222-222222222222";

/// The servers of thirteen subresources, at 10.20.1.1 and up.
const SUBRESOURCES: [&str; 13] = [
    "blob",
    "table",
    "queue",
    "file",
    "web",
    "dfs",
    "blob_secondary",
    "table_secondary",
    "queue_secondary",
    "file_secondary",
    "web_secondary",
    "dfs_secondary",
    "sqlServer",
];

/// Two attachments whose VNets the SDK creates, and a token for each side.
fn begin(limits: &str) -> Daemon {
    let servers: Vec<String> = (1..=SUBRESOURCES.len()).map(|last| format!("10.20.1.{last}")).collect();
    let mut addresses: Vec<&str> = servers.iter().map(String::as_str).collect();
    addresses.push("10.20.0.2");
    leg("spoke", &["10.1.0.5"]);
    leg("core", &addresses);
    serve("core", "10.20.0.2:7000", "pls");
    for (server, name) in servers.iter().zip(SUBRESOURCES) {
        serve("core", &format!("{server}:10000"), name);
    }
    let attachment = |vnet: &str, netns: &str| format!("[[attachment]]\nvnet = \"{vnet}\"\nnetns = \"{netns}\"\n");
    let daemon = Daemon::start(
        &[
            daemon_table(&format!("api = \"127.0.0.1:8480\"\nlimits = \"{limits}\"")),
            attachment(&format!("{CONSUMER}/rg-consumer/cvnet"), "spoke"),
            attachment(&format!("{PROVIDER}/rg-provider/vnet1"), "core"),
        ]
        .concat(),
    );
    fs::write("/run/privlink/ca.pem", ask("ca show")).expect("written");
    for (who, subscription) in [("provider", PROVIDER), ("consumer", CONSUMER)] {
        ask(&format!("token create {who} --out /run/privlink/{who}.token"));
        let role = if who == "provider" { "Owner" } else { "Contributor" };
        ask(&format!("assignment create --principal token:{who} --role {role} --scope /subscriptions/{subscription}"));
    }
    daemon
}

/// Output of one of the programs beside the SDK, which has to end well.
fn python(program: &str, limits: &str) -> String {
    python_with(program, limits, "")
}

/// [`python`] with the packages of a directory before those of the environment.
fn python_with(program: &str, limits: &str, packages: &str) -> String {
    let python = std::env::var("PRIVLINK_SDK_PYTHON").expect("PRIVLINK_SDK_PYTHON: scripts/sdk.sh sets it");
    let output = Command::new(python)
        .arg(format!("{}/tests/sdk/{program}", env!("CARGO_MANIFEST_DIR")))
        .env("PRIVLINK_URL", "https://127.0.0.1:8480")
        .env("PRIVLINK_CA", "/run/privlink/ca.pem")
        .env("PRIVLINK_PROVIDER", "/run/privlink/provider.token")
        .env("PRIVLINK_CONSUMER", "/run/privlink/consumer.token")
        .env("PRIVLINK_PROVIDER_SUBSCRIPTION", PROVIDER)
        .env("PRIVLINK_CONSUMER_SUBSCRIPTION", CONSUMER)
        .env("PRIVLINK_LIMITS", limits)
        .env("PYTHONPATH", packages)
        .output()
        .expect("Python");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

fn drive(limits: &str) {
    let _daemon = begin(limits);
    let said = python("workflow.py", limits);
    assert!(said.contains("the SDK's way: done"), "{said}");
    print!("{said}");
}

#[test]
#[ignore = "needs the SDK: scripts/sdk.sh"]
fn whatever_is_asked_nothing_breaks() {
    isolated("sdk::whatever_is_asked_nothing_breaks", || {
        let daemon = begin("today");
        let said = python("fuzz.py", "today");
        print!("{said}");
        assert!(ask("audit verify").contains("each as it was written"));
        // What is durable can be read and put in force again.
        daemon.stop();
        let _daemon = Daemon::again(&[]);
    });
}

#[test]
#[ignore = "needs the SDK: scripts/sdk.sh"]
fn the_sdk_goes_the_whole_way_today() {
    isolated("sdk::the_sdk_goes_the_whole_way_today", || drive("today"));
}

#[test]
#[ignore = "needs the SDK: scripts/sdk.sh"]
fn the_sdk_goes_the_whole_way_with_the_limitations_of_2019() {
    isolated("sdk::the_sdk_goes_the_whole_way_with_the_limitations_of_2019", || drive("azure-2019"));
}

#[test]
#[ignore = "needs the SDK: scripts/sdk.sh"]
fn zones_links_records_and_groups_are_answered_as_the_sdk_writes_them() {
    isolated("sdk::zones_links_records_and_groups_are_answered_as_the_sdk_writes_them", || {
        let _daemon = begin("today");
        let said = python("zones.py", "today");
        assert!(said.contains("zones over the SDK: done"), "{said}");
        print!("{said}");
    });
}

#[test]
#[ignore = "needs the SDK: scripts/sdk.sh"]
fn names_requests_by_id_and_deletions_are_as_the_sdk_expects() {
    isolated("sdk::names_requests_by_id_and_deletions_are_as_the_sdk_expects", || {
        let _daemon = begin("today");
        let said = python("identity.py", "today");
        assert!(said.contains("names and what goes with them: done"), "{said}");
        print!("{said}");
    });
}

#[test]
#[ignore = "needs the SDK: scripts/sdk.sh"]
fn every_property_of_the_models_is_shown_listed_or_refused() {
    isolated("sdk::every_property_of_the_models_is_shown_listed_or_refused", || {
        let _daemon = begin("today");
        let said = python("properties.py", "today");
        assert!(said.contains("every property is told of: done"), "{said}");
        print!("{said}");
    });
}

#[test]
#[ignore = "needs the SDK: scripts/sdk.sh"]
fn what_clients_do_beside_the_straight_way_is_answered_as_they_expect() {
    isolated("sdk::what_clients_do_beside_the_straight_way_is_answered_as_they_expect", || {
        let _daemon = begin("today");
        let said = python("odd.py", "today");
        assert!(said.contains("beside the straight way: done"), "{said}");
        print!("{said}");
    });
}

/// What all majors of the SDK do alike: with today's, and with those that scripts/sdk.sh has installed beside them.
#[test]
#[ignore = "needs the SDK: scripts/sdk.sh"]
fn older_majors_of_the_sdk_are_answered_like_todays() {
    isolated("sdk::older_majors_of_the_sdk_are_answered_like_todays", || {
        let older = std::env::var("PRIVLINK_SDK_OLDER").expect("PRIVLINK_SDK_OLDER: scripts/sdk.sh sets it");
        let _daemon = begin("today");
        for packages in std::iter::once("").chain(older.split_whitespace()) {
            let said = python_with("held.py", "today", packages);
            assert!(said.contains("what has always been done: done"), "{packages}: {said}");
            print!("{said}");
        }
    });
}

/// The examples of `docs/azure.md`, in one script: what is in `sh` blocks as it stands, Python from a file.
fn examples() -> String {
    let page = include_str!("../../docs/azure.md");
    let (_, section) = page.split_once("\n## Examples\n").expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let mut script = String::from("set -euo pipefail\n");
    for block in section.split("\n```").skip(1) {
        if let Some(shell) = block.strip_prefix("sh\n") {
            script.push_str(shell);
            script.push('\n');
        } else if let Some(python) = block.strip_prefix("python\n") {
            let run = ["cat >example.py <<'END'\n", python, "\nEND\n\"$PRIVLINK_SDK_PYTHON\" example.py\n"].concat();
            script.push_str(&run);
        }
    }
    script
}

#[test]
#[ignore = "needs the SDK: scripts/sdk.sh"]
fn the_examples_of_the_page_do_what_they_say() {
    isolated("sdk::the_examples_of_the_page_do_what_they_say", || {
        let _daemon = begin("today");
        let script = examples();
        for word in ["curl ", "example.py", "az rest"] {
            assert!(script.contains(word), "{word}: {script}");
        }
        let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_privlink")).parent().expect("a directory");
        let tools = std::env::var("PRIVLINK_AZ").expect("PRIVLINK_AZ: scripts/sdk.sh sets it");
        let tools = std::path::Path::new(&tools).parent().expect("a directory").to_owned();
        let path = format!("{}:{}:{}", binaries.display(), tools.display(), std::env::var("PATH").expect("a path"));
        fs::create_dir_all("/run/privlink/examples").expect("made");
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir("/run/privlink/examples")
            .env("PATH", path)
            .env("AZURE_CONFIG_DIR", "/run/privlink/examples/azure")
            .env("AZURE_CORE_COLLECT_TELEMETRY", "no")
            .output()
            .expect("bash");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{script}\n{said}");
        let spoke = "/subscriptions/prod/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/spoke";
        assert_eq!(said.matches(&format!("{spoke}\n")).count(), 1, "the SDK prints it: {said}");
        assert!(said.contains(&format!("\"id\": \"{spoke}\"")), "az prints it: {said}");
    });
}
