//! Two authors, two tokens: nobody can do the other's half, and packets follow what was decided.

use std::fs;
use std::io::ErrorKind::{ConnectionRefused, HostUnreachable};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};

use crate::lab::{CORE, Daemon, ask, attachment, cli, consumer_vnet, daemon_table, isolated, json, two_legs};
use crate::peers::{serve, tcp};

const NETWORKS: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/virtualNetworks";

const PROVIDER: &str = "[[resource]]\nname = \"echo\"\nresource_group = \"provider\"\nvnet = \"default/core\"\n\
     nat = [\"10.20.99.4\"]\nvisibility = [\"*\"]\n\
     targets = [{ backends = [\"10.20.0.2\"], ports = [{ protocol = \"tcp\", port = 7, backend_port = 7000 }] }]\n";

const CONSUMER: &str = "[[endpoint]]\nname = \"orders\"\nresource_group = \"consumer\"\nvnet = \"default/spoke\"\n\
     subnet = \"endpoints\"\nresource = \"provider/echo\"\nmanual = true\nrequest_message = \"ticket 4711\"\n";

/// A command as the holder of the token `who`.
fn held(who: &str, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_privlink"))
        .args(arguments.split_whitespace())
        .env("PRIVLINK_TOKEN_FILE", format!("/run/privlink/{who}.token"))
        .output()
        .expect("the command line")
}

/// The same, which has to succeed.
fn done(who: &str, arguments: &str) -> String {
    let output = held(who, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{who}: {arguments}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The same, which has to be denied (6); returns what it said.
fn denied(who: &str, arguments: &str) -> String {
    ends(who, arguments, 6)
}

/// The same, which has to end with `code`.
fn ends(who: &str, arguments: &str, code: i32) -> String {
    let output = held(who, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{who}: {arguments}: {said}");
    said
}

fn knock() -> Result<String, std::io::ErrorKind> {
    tcp("spoke", "10.1.0.5:0", "10.1.9.4:7")
}

/// The subnets that each half joins, and what the recipe in `docs/guide.md` assigns for it besides the group of its own.
const JOINED: [(&str, &str); 3] =
    [("provider", "core/subnets/nat"), ("provider", "core/subnets/servers"), ("consumer", "spoke/subnets/endpoints")];

/// Gives the holder of the token `who` a role; a role's name has blanks, so not by `ask`, which splits at them.
fn assign(who: &str, role: &str, scope: &str) {
    let principal = format!("token:{who}");
    let arguments = ["assignment", "create", "--principal", &principal, "--role", role, "--scope", scope];
    let output = Command::new(env!("CARGO_BIN_EXE_privlink")).args(arguments).output().expect("assigned");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The identifier of what [`assign`] made.
fn assignment(who: &str, scope: &str) -> String {
    let list: serde_json::Value = serde_json::from_str(&ask("assignment list --json")).expect("JSON");
    let named = |one: &&serde_json::Value| one["principal"] == format!("token:{who}") && one["scope"] == scope;
    let found = list["items"].as_array().and_then(|items| items.iter().find(named).cloned()).expect("assigned");
    found["id"].as_str().expect("an id").to_owned()
}

/// Networks and nothing else, and two tokens that each may do one half.
fn begin() -> Daemon {
    two_legs();
    serve("core", "10.20.0.2:7000", "echo");
    let networks = [daemon_table(""), attachment("spoke"), attachment("core"), consumer_vnet("spoke", "")].concat();
    let nat = "{ name = \"nat\", prefix = \"10.20.99.0/24\"";
    assert!(CORE.contains(nat), "{CORE}");
    let core = CORE.replace(nat, &format!("{{ name = \"servers\", prefix = \"10.20.0.0/24\" }}, {nat}"));
    let daemon = Daemon::start(&(networks + &core));
    for who in ["provider", "consumer"] {
        ask(&format!("token create {who} --out /run/privlink/{who}.token"));
        assign(who, "Network Contributor", &format!("/subscriptions/default/resourceGroups/{who}"));
    }
    for (who, subnet) in JOINED {
        assign(who, "Private Link Joiner", &format!("{NETWORKS}/{subnet}"));
    }
    fs::write("/run/privlink/provider.toml", PROVIDER).expect("written");
    fs::write("/run/privlink/consumer.toml", CONSUMER).expect("written");
    daemon
}

#[test]
fn each_half_is_its_authors_and_packets_follow_the_decisions() {
    isolated("two_halves::each_half_is_its_authors_and_packets_follow_the_decisions", || {
        let daemon = begin();
        // Neither sees the other's network, let alone builds there.
        let said = ends("consumer", "apply -f /run/privlink/provider.toml", 78);
        assert!(said.contains("there is no VNet `default/core`"), "{said}");
        done("provider", "apply -f /run/privlink/provider.toml");
        let said = ends("provider", "apply -f /run/privlink/consumer.toml", 78);
        assert!(said.contains("there is no VNet `default/spoke`"), "{said}");

        // Without the owner's right an endpoint can only be asked for.
        let create =
            "endpoint create quick --vnet default/spoke --subnet endpoints --resource provider/echo --group consumer";
        let said = denied("consumer", create);
        assert!(said.contains("privateEndpointConnectionsApproval/action"), "{said}");
        assert_eq!(knock(), Err(HostUnreachable), "nothing was created");
        done("consumer", "apply -f /run/privlink/consumer.toml");
        assert_eq!(knock(), Err(ConnectionRefused), "Pending");
        // The interface is the consumer's, and so is the group; neither is the provider's to see.
        let nics = done("consumer", "nic list");
        assert!(nics.contains("orders.nic.") && nics.contains("10.1.9.4"), "{nics}");
        assert!(done("consumer", "nic show orders").contains("spoke/endpoints"));
        assert!(!done("provider", "nic list").contains("10.1.9.4"));
        assert!(
            done("consumer", "group list").contains("consumer") && !done("consumer", "group list").contains("provider")
        );
        assert!(denied("consumer", "connection approve orders").contains("Approval/action"));

        // The owner's inbox, and what it tells.
        let inbox = done("provider", "connection list --pending");
        assert!(
            inbox.contains("orders") && inbox.contains("ticket 4711") && inbox.contains("token:consumer"),
            "{inbox}"
        );
        let asked = json("connection show orders");
        assert_eq!(asked["requester"], "token:consumer");
        let link = asked["linkIdentifier"].as_u64().expect("a number");
        done("provider", "connection approve orders --reason agreed");
        done("consumer", "wait connection orders --for state=Approved --timeout 5");
        assert_eq!(knock().as_deref(), Ok("echo"));

        // Neither can undo the other's half but by its own right.
        assert!(denied("provider", "endpoint delete orders").contains("privateEndpoints/delete"));
        assert!(
            ends("consumer", "resource delete echo", 4).contains("there is no resource"),
            "it is not the consumer's to see"
        );
        let kept = held("provider", "resource delete echo");
        assert!(!kept.status.success() && String::from_utf8_lossy(&kept.stderr).contains("has connections"));
        // A status in the consumer's document is a decision, and not the consumer's to make.
        fs::write("/run/privlink/sly.toml", CONSUMER.replace("orders", "sly") + "status = \"Approved\"\n")
            .expect("written");
        assert!(denied("consumer", "apply -f /run/privlink/sly.toml").contains("Approval/action"));

        // What is revoked ends at once, for packets and for callers.
        done("provider", "connection reject orders --reason enough");
        assert_eq!(knock(), Err(ConnectionRefused));
        ask("token revoke consumer");
        assert!(denied("consumer", "endpoint list").contains("unknown or revoked"));

        // It all stands in the audit, and in the next run.
        let audit = ask("audit list");
        for words in ["token:consumer", "approve", "agreed", "reject", "enough", "revoke"] {
            assert!(audit.contains(words), "{words}: {audit}");
        }
        assert!(ask("audit verify").contains("each as it was written"));
        daemon.kill();
        let _daemon = Daemon::again(&[]);
        assert_eq!(knock(), Err(ConnectionRefused), "still rejected");
        done("provider", "connection approve orders");
        assert_eq!(knock().as_deref(), Ok("echo"));
        assert_eq!(json("connection show orders")["linkIdentifier"], link, "the identifier outlives the daemon");
    });
}

#[test]
fn each_part_of_the_recipe_is_needed_and_no_more() {
    isolated("two_halves::each_part_of_the_recipe_is_needed_and_no_more", || {
        let _daemon = begin();
        for (who, subnet) in JOINED {
            let scope = format!("{NETWORKS}/{subnet}");
            ask(&format!("assignment delete {}", assignment(who, &scope)));
            let output = held(who, &format!("apply -f /run/privlink/{who}.toml"));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // Without any subnet of it the network is as if it were not.
            assert!([Some(6), Some(78)].contains(&output.status.code()), "{who} without {subnet}: {said}");
            // What `access why` proposes is what the recipe says.
            let action = "Microsoft.Network/virtualNetworks/subnets/join/action";
            let why = ["access", "why", &format!("token:{who}"), action, &scope];
            let told = Command::new(env!("CARGO_BIN_EXE_privlink")).args(why).output().expect("the command line");
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(told.contains("\"Private Link Joiner\"") && told.contains(&scope), "{told}");
            assign(who, "Private Link Joiner", &scope);
        }
        done("provider", "apply -f /run/privlink/provider.toml");
        done("consumer", "apply -f /run/privlink/consumer.toml");
        // Nothing else of the networks is theirs.
        for (who, vnet) in [("provider", "core"), ("consumer", "spoke")] {
            assert!(!done(who, "vnet list").contains(vnet));
            let mine = format!(
                "[[vnet]]\nname = \"mine\"\nresource_group = \"{who}\"\naddress_space = [\"10.77.0.0/16\"]\n\
                 peerings = [\"default/{vnet}\"]\n"
            );
            fs::write("/run/privlink/mine.toml", mine).expect("written");
            assert!(denied(who, "apply -f /run/privlink/mine.toml").contains("virtualNetworks/peer/action"));
        }
    });
}

const COPY: &str = "/run/privlink/copy.db";

#[test]
fn a_backup_brings_decisions_back() {
    isolated("two_halves::a_backup_brings_decisions_back", || {
        let daemon = begin();
        done("provider", "apply -f /run/privlink/provider.toml");
        done("consumer", "apply -f /run/privlink/consumer.toml");
        done("provider", "connection approve orders");
        assert!(ask("backup /run/privlink/copy.db").contains(COPY));
        let meta = fs::metadata(COPY).expect("written by the caller");
        assert_eq!((meta.permissions().mode() & 0o777, meta.uid()), (0o600, 0));
        let whole = fs::read(COPY).expect("read");
        assert!(whole.starts_with(b"SQLite format 3\0") && whole.len() as u64 == meta.len());
        // What is there stays, unless the caller says otherwise; who may not have a copy leaves nothing behind.
        assert_eq!(cli("backup /run/privlink/copy.db").status.code(), Some(5));
        assert_eq!(fs::read(COPY).expect("read"), whole);
        ask("backup /run/privlink/copy.db --force");
        denied("provider", "backup /run/privlink/stolen.db");
        let names = fs::read_dir("/run/privlink").expect("read").map(|one| one.expect("an entry").file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains("stolen")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(cli("backup -").stdout.starts_with(b"SQLite format 3\0"));
        // The daemon writes to no path that a request names.
        let (code, said) = posted(None, "backup", "{\"file\": \"/run/privlink/evil.db\"}");
        assert!(code == "400" && !Path::new("/run/privlink/evil.db").exists(), "{code}: {said}");
        ask("connection reject orders");
        let held_by_daemon = Command::new(env!("CARGO_BIN_EXE_privlink"))
            .args(["restore", "/run/privlink/copy.db", "--state", "/run/privlink/state"])
            .output()
            .expect("asked");
        assert!(!held_by_daemon.status.success(), "not under a running daemon");
        ask("token revoke consumer");
        daemon.stop();
        // What was taken away since is kept, and every bit of it listed.
        let restore = "restore /run/privlink/copy.db --state /run/privlink/state";
        let planned = &json(&format!("{restore} --dry-run"))["kept"];
        for kept in ["connection consumer/orders", "token consumer"] {
            let is_listed = |list: &Vec<serde_json::Value>| list.iter().any(|change| change["object"] == kept);
            assert!(planned.as_array().is_some_and(is_listed), "{kept}: {planned}");
        }
        let refused = cli(restore);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains("kept") && said.contains("--yes"), "{said}");
        let said = ask(&format!("{restore} --yes"));
        assert!(said.contains("state: \"Approved\" → \"Rejected\"") && said.contains("restored, with"), "{said}");
        let daemon = Daemon::again(&[]);
        assert_eq!(knock(), Err(ConnectionRefused), "rejected since it was copied");
        assert!(denied("consumer", "endpoint list").contains("unknown or revoked"));
        let records = ask("audit list --object state --json");
        let hash = said.rsplit("sha256 ").next().expect("a hash").trim();
        assert!(hash.len() == 64 && records.contains(hash), "{hash}: {records}");
        assert!(ask("audit verify").contains("each as it was written"));
        daemon.stop();
        let said = ask(&format!("{restore} --exactly --yes"));
        assert!(said.contains("GIVES BACK what was taken away"), "{said}");
        let daemon = Daemon::again(&[]);
        assert_eq!(knock().as_deref(), Ok("echo"), "approved, as when it was copied");
        daemon.stop();
        // Of a state that cannot be read nobody knows what was decided: only the exact one comes back.
        fs::write("/run/privlink/state/state.db", "no database").expect("damaged");
        let refused = cli(restore);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            refused.status.code() == Some(5) && said.contains("is unknown") && said.contains("--exactly"),
            "{said}"
        );
        assert_eq!(fs::read("/run/privlink/state/state.db").expect("there"), b"no database", "and nothing is changed");
        assert_eq!(cli(&format!("{restore} --exactly")).status.code(), Some(2), "nobody was asked");
        assert!(ask(&format!("{restore} --exactly --yes")).contains("is unknown"));
        let _daemon = Daemon::again(&[]);
        assert_eq!(knock().as_deref(), Ok("echo"));
    });
}

#[test]
fn the_live_state_is_written_down_and_drift_is_a_difference() {
    isolated("two_halves::the_live_state_is_written_down_and_drift_is_a_difference", || {
        let _daemon = begin();
        done("provider", "apply -f /run/privlink/provider.toml");
        done("consumer", "apply -f /run/privlink/consumer.toml");
        done("provider", "connection approve orders --reason agreed");
        // What a file has no word for is there, too.
        let (code, said) = balancer();
        assert!(code.starts_with('2'), "{code}: {said}");
        let exported = ask("export");
        assert_eq!(ask("export -"), exported);
        ask("export /run/privlink/live.toml");
        assert_eq!(fs::read_to_string("/run/privlink/live.toml").expect("written"), exported);
        assert!(exported.contains("# load balancer default/lb stays as it is"), "{exported}");
        assert!(!exported.contains("plk_"), "{exported}");
        assert_eq!(cli("export /run/privlink/live.toml").status.code(), Some(5), "it writes over nothing");
        assert!(ask("check /run/privlink/live.toml").contains("ok as a document"));
        ask("apply -f /run/privlink/live.toml --dry-run --exit-code");
        let said = ask("apply -f /run/privlink/live.toml");
        assert!(said.contains("applied: 0 created, 0 updated, 0 pruned"), "{said}");
        assert_eq!(ask("export"), exported);
        assert_eq!(knock().as_deref(), Ok("echo"));
        // Whoever sees a part writes a part, which is as good to them, and learns nothing of the rest.
        for (who, unseen) in [("consumer", "backends"), ("provider", "10.1.9.4")] {
            let own = done(who, "export");
            assert!(own.starts_with("# What you may not read is left out.\n") && !own.contains(unseen), "{who}: {own}");
            fs::write("/run/privlink/own.toml", &own).expect("written");
            ask("check /run/privlink/own.toml");
            done(who, "apply -f /run/privlink/own.toml --dry-run --exit-code");
        }
        // Somebody decides: the file says how it was.
        ask("connection reject orders --reason drift");
        let drifted = ask("export");
        let line = |text: &str, word: &str| text.lines().any(|line| line.starts_with(word));
        assert!(line(&drifted, "status = \"Rejected\"") && !line(&exported, "status = \"Rejected\""), "{drifted}");
        // And a network is changed: the apply of the earlier file would change it back, field by field.
        let wider = exported.replace("on_premises = ", "# on_premises = ");
        fs::write(
            "/run/privlink/wider.toml",
            format!("{wider}\n[[vnet]]\nname = \"more\"\naddress_space = [\"10.99.0.0/16\"]\n"),
        )
        .expect("written");
        let planned = cli("apply -f /run/privlink/wider.toml --dry-run --exit-code");
        let said = String::from_utf8_lossy(&planned.stdout).into_owned();
        assert_eq!(planned.status.code(), Some(9), "{said}");
        assert!(said.contains("created: vnet default/more\n  address_space: nothing → [\"10.99.0.0/16\"]"), "{said}");
    });
}

/// Makes a load balancer by ARM.
fn balancer() -> (String, String) {
    let path = "http://localhost/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/loadBalancers/lb\
                ?api-version=2024-05-01";
    let output = Command::new("curl")
        .args(["-sS", "--unix-socket", "/run/privlink/privlink.sock", "-w", "\n%{http_code}", "-X", "PUT", "-d"])
        .args([r#"{"location":"westeurope","properties":{}}"#, path])
        .output()
        .expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').expect("a status");
    (code.to_owned(), body.to_owned())
}

/// What the control socket answers to a POST of the holder of a token, or of root: status and body.
fn posted(who: Option<&str>, path: &str, body: &str) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--unix-socket",
        "/run/privlink/privlink.sock",
        "-w",
        "\n%{http_code}",
        "-X",
        "POST",
        "-d",
        body,
    ]);
    if let Some(who) = who {
        let token = fs::read_to_string(format!("/run/privlink/{who}.token")).expect("a token");
        curl.args(["-H", &format!("Authorization: Bearer {}", token.trim())]);
    }
    let output = curl.arg(format!("http://localhost/v1/{path}")).output().expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (said, code) = text.rsplit_once('\n').unwrap_or_default();
    (code.to_owned(), said.to_owned())
}

#[test]
fn the_daemons_file_is_read_and_quoted_only_for_those_who_may_change_it() {
    isolated("two_halves::the_daemons_file_is_read_and_quoted_only_for_those_who_may_change_it", || {
        let daemon = begin();
        daemon.reload("[daemon]\nhunter2 = \"a secret\"\n", "nothing changed");
        let (code, said) = posted(Some("provider"), "reload", "");
        assert!(code == "403" && !said.contains("hunter2") && !said.contains("secret"), "{code}: {said}");
        let (code, said) = posted(None, "reload", "");
        assert!(code == "400" && said.contains("hunter2"), "{code}: {said}");
    });
}
