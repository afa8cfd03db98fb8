//! The command line against the real API and control plane: only packets and the host are missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use privlink::api::listen::ControlSocket;
use privlink::api::router;
use privlink::cli::{Cleaned, Daemon, Exit, execute};
use privlink::config;
use privlink::types::{Plan, Restored};

/// What all tests share.
mod support;

use support::served::{Served, Traffic};

/// Serves the configuration that `privlink init` writes, below `directory`.
#[allow(clippy::expect_used, reason = "set-up of a test")]
fn serve(directory: &Path) -> tokio::runtime::Runtime {
    let file = ("template", config::template());
    let uid = rustix::process::getuid().as_raw();
    let served = Served { directory, file, uid, clock: jiff::Timestamp::now, traffic: Traffic::default() };
    let state = served.state();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let socket = ControlSocket::bind(&directory.join("privlink.sock"), None).expect("bound");
    runtime.spawn(async move { socket.serve(router(state), std::future::pending()).await });
    runtime
}

/// A daemon of one test's own, and the command line that asks it.
struct Lab {
    directory: PathBuf,
    socket: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Lab {
    #[allow(clippy::expect_used, reason = "set-up of a test")]
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("privlink-command-line-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("temporary directory");
        let runtime = Some(serve(&directory));
        let socket = directory.join("privlink.sock").display().to_string();
        Self { directory, socket, runtime }
    }

    /// Exit code, standard output, standard error; arguments are separated by blanks.
    #[allow(clippy::expect_used, reason = "part of a test")]
    fn run(&self, arguments: &str) -> (Exit, String, String) {
        let daemon = Daemon {
            run: &|_| Ok(()),
            plan: &|_| Ok(Plan::default()),
            clean: &|_| Ok(Cleaned::default()),
            restore: &|_, _| Ok(Restored::default()),
        };
        let arguments = ["privlink", "--socket", &self.socket].into_iter().chain(arguments.split(' '));
        let (mut data, mut talk) = (Vec::new(), Vec::new());
        let exit = execute(arguments.map(OsString::from), daemon, &mut data, &mut talk);
        (exit, String::from_utf8(data).expect("text"), String::from_utf8(talk).expect("text"))
    }

    #[allow(clippy::expect_used, reason = "part of a test")]
    fn json(&self, arguments: &str) -> serde_json::Value {
        let (exit, data, talk) = self.run(&format!("{arguments} --json"));
        assert_eq!(exit, Exit::Done, "{arguments}: {talk}");
        let list: serde_json::Value = serde_json::from_str(&data).expect("JSON");
        assert_eq!(list["apiVersion"], "privlink/v1");
        list["items"].clone()
    }

    /// What a command that has to succeed says.
    fn done(&self, arguments: &str) -> String {
        let (exit, data, talk) = self.run(arguments);
        assert_eq!(exit, Exit::Done, "{arguments}: {talk}");
        data
    }

    /// What a command that has to fail with `exit` says.
    fn fails(&self, arguments: &str, expected: Exit) -> String {
        let (exit, data, talk) = self.run(arguments);
        assert_eq!((exit, data.as_str()), (expected, ""), "{arguments}: {talk}");
        talk
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(|runtime| runtime.shutdown_timeout(Duration::from_secs(1)));
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn every_kind_is_created_shown_listed_and_deleted() {
    let lab = Lab::new("create");
    let said = lab.done(
        "vnet create lab --address-space 10.40.0.0/16 --region westeurope --on-premises 192.168.9.0/24 --peering spoke \
         --subnet name=clients,prefix=10.40.1.0/24,dedicated --subnet name=nat,prefix=10.40.2.0/24,nat",
    );
    assert!(said.starts_with("lab: created\n  next: "), "{said}");
    let vnet = &lab.json("vnet show lab")[0];
    assert_eq!(vnet["subnets"][0]["dedicated"], true, "{vnet}");
    assert_eq!(
        (&vnet["onPremises"][0], &vnet["peerings"][0]["state"]),
        (&"192.168.9.0/24".into(), &"Initiated".into())
    );
    assert!(
        lab.fails("vnet create lab --address-space 10.41.0.0/16", Exit::Conflict).contains("vnet default/lab exists")
    );

    let group = "security-group create web --rule \
                 name=https,priority=100,access=allow,protocol=tcp,sources=10.40.0.0/16,ports=443,ports=8000-8100 --rule \
                 name=rest,priority=200,access=deny";
    let made = lab.json(group);
    assert_eq!(made[0]["spec"]["rules"][0]["ports"], serde_json::json!(["443", "8000-8100"]), "{made}");
    assert!(lab.done("security-group show web").contains("200       rest   deny    *"));
    assert!(lab.done("security-group list").contains("web             2      -"));

    let said = lab.done(
        "resource create acct --type Microsoft.Storage/storageAccounts --vnet lab --nat 10.40.2.4 --backend 10.40.0.9 \
         --backend 10.40.0.10 --port 443:10000/tcp --port 8000-8100/udp --port icmp --subresource blob --member blob --visibility * \
         --max-sessions 100",
    );
    assert!(said.starts_with("acct: created\n  next: privlink endpoint create"), "{said}");
    let target = &lab.json("resource show acct")[0]["targets"][0];
    assert_eq!(target["ports"], serde_json::json!(["tcp 443→10000", "udp 8000-8100", "icmp"]), "{target}");
    assert_eq!(target["backends"].as_array().map(Vec::len), Some(2), "{target}");

    let create = "endpoint create files --vnet lab --subnet clients --resource acct --subresource blob";
    let said = lab.done(&format!("{create} --member blob=10.40.1.7 --manual --request-message hello"));
    assert!(said.starts_with("files: created, 10.40.1.7 (blob) → acct (blob), Pending\n"), "{said}");
    assert!(said.contains("the owner of acct decides") && said.contains("privlink wait connection files"), "{said}");
    let said = lab.done(&create.replace("files", "more"));
    assert!(said.contains("Approved\n  next: connect to 10.40.1."), "{said}");

    let usage = lab.fails(&format!("{create} --member blob"), Exit::Usage);
    assert!(usage.contains("MEMBER=IP"), "{usage}");
    assert_eq!(lab.run(&format!("{create} --ip 10.40.1.9 --member blob=10.40.1.9")).0, Exit::Usage);
    for (arguments, expected, words) in [
        ("vnet create bad --address-space nonsense", Exit::BadConfig, "the command line:"),
        ("vnet create bad --address-space 10.50.0.0/16 --subnet nam=x", Exit::BadConfig, "did you mean `name`?"),
        ("security-group create bad --rule name=x,priority=1,access=allow", Exit::BadConfig, "priority"),
        ("resource create bad --vnet nowhere --nat 10.0.0.1 --backend 10.0.0.2 --port 1", Exit::BadConfig, "nowhere"),
        ("resource create bad --vnet lab --nat 10.40.2.9 --backend 10.40.0.9 --port x/tcp", Exit::BadConfig, "port"),
        ("endpoint create bad --vnet lab --subnet clients --resource nothing", Exit::BadConfig, "nothing"),
        ("security-group show nothing", Exit::NotFound, "there is no security group `nothing`"),
        ("security-group delete nothing", Exit::NotFound, "there is no security group `nothing`"),
        ("resource delete nothing", Exit::NotFound, "there is no resource `nothing`"),
        ("vnet delete lab", Exit::Conflict, "in use"),
    ] {
        let said = lab.fails(arguments, expected);
        assert!(said.contains(words), "{arguments}: {said}");
    }
    for arguments in ["endpoint delete files", "endpoint delete more", "resource delete acct", "vnet delete lab"] {
        assert!(lab.done(arguments).contains("deleted"), "{arguments}");
    }
    assert_eq!(lab.done("security-group delete web"), "security group default/web: deleted\n");
    assert_eq!(lab.json("security-group list"), serde_json::json!([]));
}

#[test]
fn apply_reports_in_fields() {
    let lab = Lab::new("apply");
    let file = lab.directory.join("mine.toml").display().to_string();
    let one = "[[vnet]]\nname = \"one\"\naddress_space = \"10.60.0.0/16\"\n";
    let two = one.replace("one", "two").replace("10.60", "10.61");
    std::fs::write(&file, format!("{one}{two}")).expect("written");
    let planned = &lab.json(&format!("apply -f {file} --dry-run"))[0];
    assert_eq!(
        (&planned["dryRun"], &planned["created"]),
        (&true.into(), &serde_json::json!(["vnet default/one", "vnet default/two"]))
    );
    let change = &planned["changes"][0];
    assert_eq!((&change["object"], &change["action"]), (&"vnet default/one".into(), &"create".into()));
    let field = serde_json::json!({ "field": "address_space", "after": ["10.60.0.0/16"] });
    assert!(change["fields"].as_array().is_some_and(|fields| fields.contains(&field)), "{change}");
    assert_eq!(lab.run("vnet show one").0, Exit::NotFound, "a dry run makes nothing");
    assert_eq!(lab.run(&format!("apply -f {file} --exit-code")).0, Exit::Usage, "of a dry run alone");
    let (exit, said, talk) = lab.run(&format!("apply -f {file} --dry-run --exit-code"));
    assert_eq!((exit, talk.as_str()), (Exit::Differs, ""), "{said}");
    assert!(said.contains("created: vnet default/one\n  address_space: nothing → [\"10.60.0.0/16\"]\n"), "{said}");
    assert!(lab.done(&format!("apply -f {file}")).ends_with("applied: 2 created, 0 updated, 0 pruned, 0 unchanged\n"));
    assert_eq!(lab.run(&format!("apply -f {file} --dry-run --exit-code")).0, Exit::Done, "nothing is left to do");
    let wrong = lab.directory.join("wrong.toml").display().to_string();
    std::fs::write(&wrong, one.replace("address_space", "adress_space")).expect("written");
    assert_eq!(lab.run(&format!("apply -f {wrong} --dry-run --exit-code")).0, Exit::BadConfig, "refused as an apply");
    std::fs::write(&file, one.replace("10.60", "10.62")).expect("written");
    let report = &lab.json(&format!("apply -f {file}"))[0];
    assert_eq!(report["updated"], serde_json::json!(["vnet default/one"]), "{report}");
    assert_eq!(report["keptUnnamed"], serde_json::json!(["vnet default/two"]), "{report}");
    let listed = lab.done("audit list --object vnet");
    assert!(listed.contains("\n    address_space: [\"10.60.0.0/16\"] → [\"10.62.0.0/16\"]\n"), "{listed}");
    let records = lab.json("audit list --object vnet");
    let field = serde_json::json!({
        "field": "address_space", "before": ["10.60.0.0/16"], "after": ["10.62.0.0/16"]
    });
    let last = records.as_array().and_then(|records| records.last());
    assert_eq!(last.map(|last| &last["changes"]), Some(&serde_json::json!([field])), "{records}");
    let report = &lab.json(&format!("apply -f {file} --prune"))[0];
    assert_eq!(
        (&report["pruned"], &report["unchanged"]),
        (&serde_json::json!(["vnet default/two"]), &1.into()),
        "{report}"
    );
}

#[test]
fn wait_ends_when_it_is_so_and_no_sooner() {
    let lab = Lab::new("wait");
    assert_eq!(lab.done("wait endpoint reporting --for state=Pending --timeout 2m"), "reporting: Pending\n");
    let said = lab.fails("wait connection reporting --for state=Approved --timeout 1s", Exit::TimedOut);
    assert!(said.contains("is still Pending after 1 s"), "{said}");
    assert_eq!(lab.run("wait vnet spoke --for state=Approved").0, Exit::Usage);
    assert_eq!(lab.run("wait vnet spoke --for created --timeout 5x").0, Exit::Usage);
    assert_eq!(lab.run("wait reporting --for deleted").0, Exit::Usage, "the kind has to be named");
    lab.fails("wait connection nobody --for state=Approved", Exit::NotFound);
    assert_eq!(lab.done("wait vnet spoke --for created --timeout 1"), "spoke: there\n");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lab.json("wait connection reporting --for state=Approved --timeout 5m"));
        lab.done("connection approve reporting");
        assert_eq!(waiting.join().expect("ended")[0]["state"], "Approved");
        let waiting = scope.spawn(|| lab.done("wait endpoint reporting --for deleted --timeout 300"));
        lab.done("endpoint delete reporting");
        assert_eq!(waiting.join().expect("ended"), "reporting: deleted\n");
    });
}

/// What the shell is offered for the unfinished `line`, by the binary itself.
#[allow(clippy::expect_used, reason = "part of a test")]
fn offered(socket: &str, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_privlink"))
        .args(["--"].iter().chain(&words))
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_IFS", "\n")
        .env("PRIVLINK_SOCKET", socket)
        .output()
        .expect("the command line");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_shell_completes_what_the_daemon_holds() {
    let lab = Lab::new("complete");
    lab.done("endpoint create other --vnet spoke --subnet endpoints --resource orders-db --group team");
    for (line, expected) in [
        ("privlink connection approve o", vec!["orders"]),
        ("privlink endpoint show ", vec!["orders", "reporting", "team/other"]),
        ("privlink connection reject orders --resource ", vec!["orders-db"]),
        ("privlink vnet show s", vec!["spoke"]),
        ("privlink flows --endpoint team", vec!["team/other"]),
        ("privlink role show Own", vec!["Owner"]),
        ("privlink security-group show ", vec![]),
        ("privlink wait connection rep", vec!["reporting"]),
    ] {
        let mut found = offered(&lab.socket, line);
        found.retain(|word| !word.starts_with('-'));
        found.sort();
        assert_eq!(found, expected, "{line}");
    }
    let named = format!("privlink --socket {} vnet show c", lab.socket);
    assert_eq!(offered("/nonexistent", &named), ["core"]);
    assert!(offered("/nonexistent", "privlink vnet show c").is_empty(), "without a daemon nothing is offered");
    assert_eq!(offered("/nonexistent", "privlink conn"), ["connection"], "and commands all the same");
}

#[test]
fn zones_of_ones_own_and_automatic_ones_are_listed_and_shown() {
    let lab = Lab::new("zones");
    let file = lab.directory.join("zones.toml");
    let blobs = "privatelink.blob.core.windows.net";
    let network = |name: &str, second: u8| {
        format!(
            "[[vnet]]\nname = \"{name}\"\naddress_space = [\"10.{second}.0.0/16\"]\nsubnets = [{{ name = \"endpoints\", prefix \
             = \"10.{second}.9.0/24\" }}, {{ name = \"nat\", prefix = \"10.{second}.8.0/24\", nat = true }}]\ndns = {{ listen = \
             \"10.{second}.0.53\" }}\n"
        )
    };
    let endpoint = |name: &str, zones: &str| {
        format!(
            "[[endpoint]]\nname = \"{name}\"\nvnet = \"names\"\nsubnet = \"endpoints\"\nresource = \"account\"\nsubresource = \
             \"blob\"\n{zones}\n"
        )
    };
    let account = "[[resource]]\nname = \"account\"\ntype = \"Microsoft.Storage/storageAccounts\"\nvnet = \"names\"\nnat = \
                   [\"10.9.8.4\"]\ntargets = [{ subresource = \"blob\", backends = [\"10.9.0.9\"], ports = [{ protocol = \"tcp\", \
                   port = 443 }] }]\n";
    let zones = format!(
        "[[dns_zone]]\nname = \"corp.internal\"\nrecords = [{{ name = \"www\", type = \"A\", ttl = \"1m\", values = \
         [\"10.9.0.1\", \"10.9.0.2\"] }}, {{ name = \"www\", type = \"TXT\", values = \"hello\" }}]\nlinks = [{{ vnet = \"names\" \
         }}]\n[[dns_zone]]\nname = \"{blobs}\"\nlinks = [{{ vnet = \"hub\", resolution_policy = \"NxDomainRedirect\" }}]\n"
    );
    let text = [
        network("names", 9),
        network("hub", 8),
        account.to_owned(),
        zones,
        endpoint("alone", ""),
        endpoint("grouped", &format!("dns_zones = \"{blobs}\"")),
    ];
    std::fs::write(&file, text.concat()).expect("written");
    lab.done(&format!("apply -f {}", file.display()));

    let listed = lab.json("dns zone list");
    let facts = |zone: &serde_json::Value| {
        let link = &zone["links"][0];
        let texts = [&zone["id"], &zone["kind"], &link["vnet"], &link["resolutionPolicy"]];
        let texts = texts.map(|text| text.as_str().expect("text").to_owned());
        assert!(zone["records"].is_null() && zone["links"].as_array().map(Vec::len) == Some(1), "{zone}");
        (texts.join(" "), zone["recordSets"].as_u64().expect("a number"))
    };
    let found: Vec<(String, u64)> = listed.as_array().expect("zones").iter().map(facts).collect();
    let expected = [
        ("default/corp.internal own default/names Default".to_owned(), 3),
        (format!("default/{blobs} own default/hub NxDomainRedirect"), 2),
        (format!("{blobs} automatic default/names NxDomainRedirect"), 2),
    ];
    assert_eq!(found, expected);
    let table = lab.done("dns zone list");
    assert!(table.contains("corp.internal") && table.contains("names (Default)"), "{table}");

    let own = lab.json("dns zone show corp.internal");
    let records: Vec<String> = own[0]["records"]
        .as_array()
        .expect("records")
        .iter()
        .map(|one| format!("{} {} {} {}", one["name"], one["type"], one["data"], one["ttl"]).replace('"', ""))
        .collect();
    assert_eq!(records, ["www A 10.9.0.1 60", "www A 10.9.0.2 60", "www TXT \\hello\\ 3600"]);
    // One of somebody's own and one that came about beside it.
    let both = lab.json(&format!("dns zone show {}", blobs.to_uppercase()));
    let owner = |zone: usize| (both[zone]["kind"].as_str(), both[zone]["records"][0]["endpoint"].as_str());
    assert_eq!(both.as_array().map(Vec::len), Some(2));
    assert_eq!(owner(0), (Some("own"), Some("default/grouped")));
    assert_eq!(owner(1), (Some("automatic"), Some("default/alone")));
    let shown = lab.done(&format!("dns zone show {blobs}"));
    assert!(shown.contains("account  A     -    10.9.9.4"), "{shown}");
    let said = lab.fails("dns zone show corp.interna", Exit::NotFound);
    assert!(said.contains("private DNS zone") && said.contains("corp.internal"), "{said}");
    assert_eq!(offered(&lab.socket, "privlink dns zone show c"), ["corp.internal"]);

    // Who may read none of it sees none of it.
    let token = lab.directory.join("token").display().to_string();
    lab.done(&format!("token create stranger --out {token}"));
    let held = |arguments: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_privlink"));
        let command = command.args(["--socket", &lab.socket]).args(arguments.split(' '));
        let output = command.env("PRIVLINK_TOKEN_FILE", &token).output().expect("the command line");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(held("dns zone show corp.internal"), (Some(4), String::new()));
    assert_eq!(held(&format!("dns zone show {blobs}")), (Some(4), String::new()));
    let (code, said) = held("dns zone list");
    assert!(code == Some(0) && !said.contains("internal") && !said.contains("privatelink"), "{said}");
}

#[test]
fn every_command_works_against_a_daemon() {
    let directory: PathBuf = std::env::temp_dir().join(format!("privlink-command-line-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("temporary directory");
    let runtime = serve(&directory);
    let socket = directory.join("privlink.sock").display().to_string();
    let run = |arguments: &str| -> (Exit, String, String) {
        let daemon = Daemon {
            run: &|_| Ok(()),
            plan: &|_| Ok(Plan::default()),
            clean: &|_| Ok(Cleaned::default()),
            restore: &|_, _| Ok(Restored::default()),
        };
        let arguments = ["privlink", "--socket", &socket].into_iter().chain(arguments.split(' ')).map(OsString::from);
        let (mut data, mut talk) = (Vec::new(), Vec::new());
        let exit = execute(arguments, daemon, &mut data, &mut talk);
        (exit, String::from_utf8(data).expect("text"), String::from_utf8(talk).expect("text"))
    };
    let json = |arguments: &str| -> serde_json::Value {
        let (exit, data, talk) = run(&format!("{arguments} --json"));
        assert_eq!(exit, Exit::Done, "{arguments}: {talk}");
        let list: serde_json::Value = serde_json::from_str(&data).expect("JSON");
        assert_eq!(list["apiVersion"], "privlink/v1");
        list["items"].clone()
    };

    let endpoint = json("endpoint list")[0].clone();
    let (id, name) = (endpoint["id"].as_str().expect("text"), endpoint["name"].as_str().expect("text"));
    let address = endpoint["addresses"][0]["ip"].as_str().expect("text");
    let vnet = endpoint["vnet"].as_str().expect("text");
    let resource = endpoint["resource"].as_str().expect("text");
    assert_eq!(json(&format!("endpoint show {id}"))[0], endpoint);
    assert!(json(&format!("resource show {resource}"))[0]["endpoints"].to_string().contains(id));
    assert_eq!(json("resource list").as_array().map(Vec::is_empty), Some(false));
    let space = json(&format!("vnet show {vnet}"))[0]["addressSpace"][0].as_str().expect("text").to_owned();
    assert_eq!(json("vnet list").as_array().map(Vec::is_empty), Some(false));
    assert_eq!(json("flows"), serde_json::json!([]));

    let (_, before, _) = run("status");
    assert!(before.contains(&format!("{name} {address} → ")), "{before}");
    for (action, to, told) in
        [("approve", "Approved", ""), ("reject", "Rejected", ", in force after "), ("approve", "Approved", "")]
    {
        let (exit, data, talk) = run(&format!("connection {action} {name} --reason test"));
        assert_eq!(exit, Exit::Done, "{talk}");
        assert!(data.starts_with(&format!("{name}: ")) && data.contains(to) && data.contains(told), "{data}");
        assert_eq!(json(&format!("connection show {name}"))[0]["state"], to);
        let (_, status, _) = run("status");
        assert!(status.contains(&format!("{to}, ")), "{status}");
    }
    assert!(!json("connection list --pending").to_string().contains(&format!("\"{id}\"")));

    let source = space.split('/').next().expect("an address").replace(".0.0", ".0.77");
    let explained = &json(&format!("explain --vnet {vnet} {source} {address}:9/udp"))[0];
    assert_eq!(explained["reason"], "port_not_exposed", "{explained}");
    assert_eq!(explained["endpoint"], id);
    let (exit, _, talk) = run("explain --vnet nowhere 10.0.0.1 10.0.0.2:1");
    assert_eq!(exit, Exit::NotFound, "{talk}");

    assert_eq!(run("clean").0, Exit::Conflict);
    assert_eq!(run("endpoint show nobody").0, Exit::NotFound);
    assert_eq!(run(&format!("connection remove {name}")).0, Exit::Done);
    assert_eq!(run(&format!("connection approve {name}")).0, Exit::Conflict);
    let (_, status, _) = run("status");
    assert!(status.contains(&format!(": privlink endpoint delete {name}\n")), "{status}");
    let (exit, data, _) = run(&format!("endpoint delete {name}"));
    assert!(exit == Exit::Done && data.starts_with(&format!("{name}: deleted")), "{data}");
    assert_eq!(run(&format!("endpoint show {name}")).0, Exit::NotFound);

    runtime.shutdown_timeout(Duration::from_secs(1));
    std::fs::remove_dir_all(&directory).expect("removed");
}

#[test]
fn roles_and_assignments_of_a_file_are_planned_applied_and_pruned() {
    let lab = Lab::new("roles");
    let file = lab.directory.join("access.toml").display().to_string();
    let whole = "[[role]]\nname = \"Inbox\"\nactions = [\"*/read\", \"*/privateEndpointConnectionsApproval/action\"]\n\
                 not_actions = \"Privlink/*\"\n\n[[assignment]]\nprincipal = \"uid:1000\"\nrole = \"inbox\"\n\
                 scope = \"/subscriptions/default/resourceGroups/team\"\n";
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    let of_uid = || {
        let all = lab.json("assignment list");
        let mine = all.as_array().into_iter().flatten().find(|one| one["principal"] == "uid:1000").cloned();
        mine.map(|one| one["id"].as_str().expect("text").to_owned())
    };
    write(whole);
    let planned = &lab.json(&format!("apply -f {file} --dry-run"))[0];
    assert_eq!(planned["created"][0], "role Inbox", "{planned}");
    assert!(planned["created"][1].as_str().expect("text").starts_with("assignment "), "{planned}");
    assert_eq!((lab.run("role show Inbox").0, of_uid()), (Exit::NotFound, None), "a dry run gives nothing");
    lab.done(&format!("apply -f {file}"));
    assert_eq!(lab.json("role show inbox")[0]["notActions"], serde_json::json!(["Privlink/*"]));
    let why = "access why uid:1000 Microsoft.Network/privateEndpoints/read /subscriptions/default/resourceGroups/team";
    assert!(lab.done(why).starts_with("uid:1000 may "));

    // What was taken live is not given back by a file that has not changed.
    lab.done(&format!("assignment delete {}", of_uid().expect("assigned")));
    let report = &lab.json(&format!("apply -f {file}"))[0];
    assert!(report["differences"][0].as_str().expect("text").contains("was deleted live"), "{report}");
    assert_eq!(of_uid(), None);
    write(&whole.replace("groups/team", "groups/other").replace("resourceGroups/team", "resourceGroups/other"));
    lab.done(&format!("apply -f {file}"));
    assert!(of_uid().is_some(), "another assignment is another decision");

    let broken = whole.replace("role = \"inbox\"", "role = \"Inbok\"");
    write(&broken);
    let said = lab.fails(&format!("apply -f {file}"), Exit::BadConfig);
    assert!(said.contains("access.toml:8:8: error: there is no role `Inbok`") && said.contains("`Inbox`"), "{said}");
    write("");
    let report = &lab.json(&format!("apply -f {file}"))[0];
    assert_eq!(report["keptUnnamed"].as_array().map(Vec::len), Some(2), "{report}");
    let report = &lab.json(&format!("apply -f {file} --prune"))[0];
    assert_eq!(report["pruned"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!((lab.run("role show Inbox").0, of_uid()), (Exit::NotFound, None));
}

#[test]
fn a_refusal_names_every_broken_rule() {
    let lab = Lab::new("codes");
    // Rules between objects, judged by the control plane: the backend and the NAT address are another resource's.
    let twice = "resource create twice --vnet core --nat 10.20.99.4 --backend 10.20.0.2 --port 5432";
    let said = lab.fails(twice, Exit::Conflict);
    assert!(said.contains("shared_backend") && said.contains("10.20.99.4"), "each is said: {said}");
    let codes = |arguments: &str, exit: Exit| -> (serde_json::Value, Vec<String>) {
        let error: serde_json::Value = serde_json::from_str(&lab.fails(arguments, exit)).expect("JSON");
        assert_eq!(error["apiVersion"], "privlink/v1");
        let details = error["error"]["details"].as_array().cloned().unwrap_or_default();
        let codes = details.iter().map(|detail| detail["code"].as_str().expect("a code").to_owned()).collect();
        (error["error"].clone(), codes)
    };
    let (error, found) = codes(&format!("{twice} --json"), Exit::Conflict);
    assert!(found.iter().any(|code| code == "SharedBackend"), "{error}");
    assert!(
        found.iter().all(|code| code != "InvalidModel"),
        "the codes of the rules, not that of the refusal: {error}"
    );
    // Rules about an object, judged where the document is read.
    let (error, found) =
        codes("-o json vnet create a/b --address-space 10.50.0.0/16 --address-space x", Exit::BadConfig);
    assert_eq!(found, ["InvalidDocument", "InvalidResourceName"], "{error}");
    assert_eq!(error["details"][1]["target"], "the command line: vnet[0].name", "{error}");
    // Whatever fails is told in one shape.
    let (error, found) = codes("--json endpoint show nobody", Exit::NotFound);
    assert_eq!((&error["code"], found.as_slice()), (&"NotFound".into(), &["Remedy".to_owned()][..]));
}

#[test]
fn a_stranger_cannot_tell_the_hidden_from_the_absent_by_any_command() {
    let lab = Lab::new("stranger");
    let token = lab.directory.join("token").display().to_string();
    lab.done(&format!("token create stranger --out {token}"));
    let group = "/subscriptions/default/resourceGroups/team";
    lab.done("role create Team --action Microsoft.Network/*");
    lab.done(&format!("assignment create --principal token:stranger --role Team --scope {group}"));
    lab.done("security-group create hidden --rule name=all,priority=100,access=allow");
    let owner = lab.json("assignment list")[0]["id"].as_str().expect("text").to_owned();
    let held = |who: Option<&str>, arguments: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_privlink"));
        command.args(["--socket", &lab.socket]).args(arguments.split(' '));
        if let Some(token) = who {
            command.env("PRIVLINK_TOKEN_FILE", token);
        }
        let output = command.output().expect("the command line");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let document = |vnet: &str, resource: &str| {
        let file = lab.directory.join(format!("{vnet}-{resource}.toml"));
        let text = format!(
            "[[endpoint]]\nname = \"x\"\nresource_group = \"team\"\nvnet = \"default/{vnet}\"\nsubnet = \"endpoints\"\n\
             resource = \"default/{resource}\"\nmanual = true\n"
        );
        std::fs::write(&file, text).expect("written");
        format!("apply -f {}", file.display())
    };
    let mut pairs: Vec<(String, String, i32)> = vec![
        (document("spoke", "nothing"), document("apoke", "nothing"), 78),
        (format!("assignment show {owner}"), "assignment show 00000000-0000-8000-8000-000000000000".into(), 4),
        (format!("assignment delete {owner}"), "assignment delete 00000000-0000-8000-8000-000000000000".into(), 4),
    ];
    for (command, hidden, absent) in [
        ("endpoint show NAME", "orders", "absent"),
        ("endpoint delete NAME", "orders", "absent"),
        ("connection show default/NAME", "orders", "absent"),
        ("connection approve NAME", "orders", "absent"),
        ("connection reject NAME --reason x", "orders", "absent"),
        ("connection remove NAME -o json", "orders", "absent"),
        ("connection approve NAME --resource orders-db", "orders", "absent"),
        ("resource show NAME", "orders-db", "absent-db"),
        ("resource delete NAME", "orders-db", "absent-db"),
        ("vnet show NAME", "spoke", "apoke"),
        ("vnet delete NAME", "spoke", "apoke"),
        ("security-group show NAME", "hidden", "absent"),
        ("security-group delete NAME", "hidden", "absent"),
        ("wait connection NAME --for state=Approved", "orders", "absent"),
    ] {
        pairs.push((command.replace("NAME", hidden), command.replace("NAME", absent), 4));
    }
    for (hidden, absent, code) in pairs {
        let names =
            hidden.split(['/', ' ', '-']).zip(absent.split(['/', ' ', '-'])).filter(|(one, other)| one != other);
        let names: Vec<(&str, &str)> = names.collect();
        let plain = |text: String| names.iter().fold(text, |text, (hidden, absent)| text.replace(hidden, absent));
        let ((status, data, talk), expected) = (held(Some(&token), &hidden), held(Some(&token), &absent));
        assert_eq!((status, plain(data), plain(talk)), expected, "{hidden}");
        assert_eq!(status, Some(code), "{hidden}: {}", expected.2);
    }
    // The other principal sees what there is, and that nothing has become of it.
    for shown in ["endpoint show orders", "resource show orders-db", "vnet show spoke", "security-group show hidden"] {
        assert_eq!(held(None, shown).0, Some(0), "{shown}");
    }
    assert_eq!(lab.json("connection show reporting")[0]["state"], "Pending");
}
