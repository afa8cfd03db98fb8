//! The unmodified storage client for Python by the account's own name, Azurite with TLS behind the endpoint.

use std::fs::{self, File};
use std::process::{Command, Output, Stdio};

use crate::lab::{
    CORE, Daemon, ask, attachment, consumer_vnet, daemon_table, endpoint, eventually, inside, isolated, leg, metrics,
    read_log,
};
use crate::peers::Program;
use crate::support::dns::{answers, client, public_server};

const ACCOUNT: &str = "account.blob.core.windows.net";

/// The authority of the lab, and a certificate of the server that it vouches for.
const CERTIFICATES: &str = "
set -e; cd /run/tls
elliptic='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $elliptic -keyout authority.key -out authority.pem -days 2 -subj /CN=lab \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
openssl req $elliptic -keyout key.pem -out request.pem -subj /CN=storage
printf 'subjectAltName=DNS:*.blob.core.windows.net\\nbasicConstraints=CA:FALSE\\nextendedKeyUsage=serverAuth\\n' >extensions
openssl x509 -req -in request.pem -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 \
  -extfile extensions -out certificate.pem
head -c 64 /dev/urandom | base64 -w0 >account.key
";

/// Azurite at 10.20.0.2:10000 of the provider's network.
fn azurite() -> Program {
    fs::create_dir_all("/run/tls").expect("made");
    let output = Command::new("bash").args(["-c", CERTIFICATES]).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let program = std::env::var("PRIVLINK_AZURITE").expect("PRIVLINK_AZURITE: scripts/storage.sh sets it");
    let key = fs::read_to_string("/run/tls/account.key").expect("a key");
    let log = File::create("/run/azurite.log").expect("made");
    let start = move || {
        Command::new(program)
            .args(["--blobHost", "10.20.0.2", "--blobPort", "10000", "--inMemoryPersistence"])
            .args(["--disableTelemetry", "--skipApiVersionCheck"])
            .args(["--cert", "/run/tls/certificate.pem", "--key", "/run/tls/key.pem"])
            .env("AZURITE_ACCOUNTS", format!("account:{key}"))
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
    };
    let program = Program(inside("core", start).expect("Azurite"));
    eventually("Azurite listens", || azurite_log().contains("successfully listens"));
    program
}

fn azurite_log() -> String {
    fs::read_to_string("/run/azurite.log").unwrap_or_default()
}

/// The client in `spoke`, which knows nothing but the account's URL, its key and who vouches for the server.
fn blob(arguments: &str) -> Output {
    let python = std::env::var("PRIVLINK_STORAGE_PYTHON").expect("PRIVLINK_STORAGE_PYTHON: scripts/storage.sh sets it");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/storage/blob.py");
    let line = format!(
        "env NO_PROXY=* STORAGE_KEY=/run/tls/account.key STORAGE_CA=/run/tls/authority.pem {python} {script} \
         https://{ACCOUNT} {arguments}"
    );
    client("spoke", "10.1.255.254", &line)
}

#[test]
#[ignore = "needs Azurite and the storage client: scripts/storage.sh"]
fn the_storage_client_uses_the_accounts_own_name() {
    isolated("storage::the_storage_client_uses_the_accounts_own_name", || {
        leg("spoke", &["10.1.0.5", "10.1.0.53"]);
        leg("far", &["10.3.0.5", "10.3.0.53"]);
        leg("core", &["10.20.0.2"]);
        let _public = [public_server("spoke", "10.1.0.53"), public_server("far", "10.3.0.53")];
        let _azurite = azurite();
        let account = "[[resource]]\nname = \"account\"\ntype = \"Microsoft.Storage/storageAccounts\"\nvnet = \"core\"\nnat = \
                       [\"10.20.99.4\"]\ntargets = [{ subresource = \"blob\", backends = [\"10.20.0.2\"], ports = [{ \
                       protocol = \"tcp\", port = 443, backend_port = 10000 }] }]\n";
        let dns =
            |network: u8| format!("dns = {{ listen = \"10.{network}.255.254\", upstream = \"10.{network}.0.53\" }}");
        let _daemon = Daemon::start(
            &[
                daemon_table(""),
                attachment("spoke"),
                attachment("far"),
                attachment("core"),
                consumer_vnet("spoke", &dns(1)),
                consumer_vnet("far", &dns(3)).replace("10.1.", "10.3."),
                CORE.to_owned(),
                account.to_owned(),
                endpoint("blob", "spoke", "10.1.9.4", "account", "Approved")
                    .replace("[[endpoint]]", "[[endpoint]]\nsubresource = \"blob\""),
            ]
            .concat(),
        );
        eventually("the resolvers answer", || {
            answers("spoke", "10.1.255.254", ACCOUNT) == ["10.1.9.4"]
                && !answers("far", "10.3.255.254", ACCOUNT).is_empty()
        });
        assert_eq!(answers("far", "10.3.255.254", ACCOUNT), ["203.0.113.9"], "a VNet without an endpoint");

        let output = blob("");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}{wrong}\n{}\n{}", azurite_log(), read_log());
        print!("{said}");
        let line = |word: &str| said.lines().find_map(|line| line.strip_prefix(word)).expect(word).trim().to_owned();
        assert_eq!(line("addresses"), "10.1.9.4");
        assert_eq!(line("sent"), line("read"));
        assert!(line("read").starts_with("67108864 ") && line("read").len() == 9 + 64, "{said}");
        // It went this way, and no other: through the endpoint, and the server sees the NAT address.
        for direction in ["to_service", "to_consumer"] {
            let wanted =
                format!("privlink_endpoint_bytes_total{{endpoint=\"default/blob\",direction=\"{direction}\"}}");
            let bytes = metrics().get(&wanted).copied();
            assert!(bytes.is_some_and(|bytes| bytes > 64 << 20), "{wanted}: {bytes:?} of {:?}", metrics().keys());
        }
        eventually("the server's log tells of it", || {
            let log = azurite_log();
            log.contains("10.20.99.4 - - ") && log.contains("PUT /lab/large")
        });
        let log = azurite_log();
        assert!(!log.contains("10.1.0.5"), "the client's address stays behind: {log}");

        // Taken back, the name is nobody's: the client is not led to the public address.
        let before = azurite_log().lines().count();
        ask("connection reject blob --reason no");
        let refused = blob("--list");
        let wrong = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && wrong.contains("ServiceRequestError"), "{wrong}");
        assert!(wrong.contains("Name or service not known") || wrong.contains("resolve"), "{wrong}");
        assert_eq!(azurite_log().lines().count(), before);
        ask("connection approve blob");
        let listed = blob("--list");
        assert_eq!(
            String::from_utf8_lossy(&listed.stdout).trim(),
            "lab",
            "{}",
            String::from_utf8_lossy(&listed.stderr)
        );
    });
}
