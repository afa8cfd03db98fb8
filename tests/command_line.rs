//! The command line against the real API and control plane: only packets and the host are missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use privlink::api::listen::ControlSocket;
use privlink::api::{ApiState, HostFacts, ReloadFailure, facts, router};
use privlink::cli::{Cleaned, Daemon, Exit, execute};
use privlink::config;
use privlink::control::ports::{Host, Snapshot, Topology, Workers};
use privlink::control::state::Durable;
use privlink::control::{Bootstrap, Caller, Command, DAEMON, FileVersion, Outcome, Prepared, Setup};
use privlink::observe::Observer;
use privlink::store::memory::MemoryStore;

/// The packet path: keeps the snapshot in force.
struct Kept(Arc<ArcSwap<Snapshot>>);

impl Workers for Kept {
    fn publish(&self, snapshot: Snapshot, _: Duration) -> anyhow::Result<()> {
        self.0.store(Arc::new(snapshot));
        Ok(())
    }
}

struct AnyHost;

impl Host for AnyHost {
    fn reconcile(&self, _: &Topology) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Serves the configuration that `privlink init` writes, below `directory`.
#[allow(clippy::expect_used, reason = "set-up of a test")]
fn serve(directory: &Path) -> tokio::runtime::Runtime {
    let mut loaded = config::parse(config::template(), "template").expect("the template is sound");
    loaded.host.state = directory.join("state");
    let daemon = Caller::user(0, "root");
    let attachments = loaded.host.attachments.len() as u64;
    let model = loaded.model.clone();
    let setup = Setup {
        host: Arc::new(loaded.host),
        file: loaded.model,
        prune: false,
        dry_run: false,
        workers: 1,
        namespaces: (0..attachments).collect(),
        daemon,
        bootstrap: Bootstrap { daemon: 0, socket_group: None },
        clock: jiff::Timestamp::now,
        validate: |_, _, _| Ok(()),
    };
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::empty()));
    let prepared = Prepared::new(setup, None, Box::new(Durable(Arc::new(MemoryStore::new())))).expect("prepared");
    let workers = Arc::new(Kept(Arc::clone(&snapshot)));
    let control = Arc::new(prepared.start(workers, Arc::new(AnyHost), Box::new(|_| ())).expect("started"));
    let (named, reloaded) = (Arc::clone(&control), Arc::clone(&control));
    let observer = Observer::new(snapshot, Vec::new(), Vec::new(), Box::new(move || facts(&named)));
    let reload = move |caller: &Caller| {
        let version =
            FileVersion { author: DAEMON.to_owned(), model: model.clone(), host: None, prune: false, dry_run: false };
        match reloaded.apply(caller, Command::ApplyFile(Box::new(version))) {
            Ok(Outcome::Applied(report)) => Ok(report),
            Ok(other) => Err(ReloadFailure::BadConfig(other.to_string())),
            Err(refusal) => Err(ReloadFailure::Refused(refusal)),
        }
    };
    let state = ApiState {
        control,
        observer: Arc::new(observer),
        host: Arc::new(HostFacts { config: "template".to_owned(), steering: true, ..HostFacts::default() }),
        ready: Arc::new(AtomicBool::new(true)),
        reload: Arc::new(reload),
        parse: Arc::new(|name, text, live| {
            config::parse_document(text, name, live).map(|d| (d.model, Vec::new())).map_err(|report| report.to_string())
        }),
        backup: Arc::new(|_| Ok(())),
        authority: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let socket = ControlSocket::bind(&directory.join("privlink.sock"), None).expect("bound");
    runtime.spawn(async move { socket.serve(router(state), std::future::pending()).await });
    runtime
}

#[test]
fn every_command_works_against_a_daemon() {
    let directory: PathBuf = std::env::temp_dir().join(format!("privlink-command-line-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("temporary directory");
    let runtime = serve(&directory);
    let socket = directory.join("privlink.sock").display().to_string();
    let run = |arguments: &str| -> (Exit, String, String) {
        let daemon = Daemon { run: &|_| Ok(()), clean: &|_| Ok(Cleaned::default()), restore: &|_, _| Ok(Vec::new()) };
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
