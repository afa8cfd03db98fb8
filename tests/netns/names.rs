//! Private names for real programs: PostgreSQL's client, and the resolvers of glibc and musl; the same names from a
//! VNet that has no endpoint.

use std::fs;
use std::process::{Command, Stdio};

use crate::lab::{
    CORE, Daemon, ask, attachment, consumer_vnet, daemon_table, endpoint, eventually, inside, isolated, leg, run,
};
use crate::peers::Program;
use crate::support::dns::{answers, client, public_server};

const SERVER: &str = "orders.database.windows.net";

/// A program that asks musl's resolver, linked with nothing of this system's.
const ASK_MUSL: &str = r#"
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int count, char **words) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char text[INET6_ADDRSTRLEN];
    int error = getaddrinfo(words[count - 1], 0, &hints, &found);
    if (error) return fprintf(stderr, "%s\n", gai_strerror(error)), 1;
    for (; found; found = found->ai_next) {
        const void *address = found->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr
                                                          : (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr;
        puts(inet_ntop(found->ai_family, address, text, sizeof text));
    }
}
"#;

/// PostgreSQL at 10.20.0.2 of the provider's network, as a user who is not root.
fn postgres() -> Program {
    let script = r#"
set -e
PATH=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1):$PATH
read -r _ _ size </proc/self/uid_map
if [ "$size" -gt 65534 ]; then nobody="setpriv --reuid=65534 --regid=65534 --clear-groups --"
else nobody="unshare --user --map-user=65534 --map-group=65534 --"; fi
mkdir -m 777 /run/pg
$nobody initdb -D /run/pg/data -U demo -A trust --no-sync
echo 'host all all 10.20.99.0/24 trust' >>/run/pg/data/pg_hba.conf
exec $nobody postgres -D /run/pg/data -c listen_addresses=10.20.0.2 -c unix_socket_directories= -c fsync=off
"#;
    let log = fs::File::create("/run/pg.log").expect("made");
    let start = move || {
        let errors = log.try_clone()?;
        Command::new("sh").args(["-c", script]).stdin(Stdio::null()).stdout(log).stderr(errors).spawn()
    };
    let program = Program(inside("core", start).expect("sh"));
    eventually("PostgreSQL is ready", || {
        fs::read_to_string("/run/pg.log").unwrap_or_default().contains("ready to accept connections")
    });
    program
}

#[test]
fn psql_glibc_and_musl_find_the_private_address_and_another_vnet_the_public_one() {
    isolated("names::psql_glibc_and_musl_find_the_private_address_and_another_vnet_the_public_one", || {
        leg("spoke", &["10.1.0.5", "10.1.0.53"]);
        leg("far", &["10.3.0.5", "10.3.0.53"]);
        leg("core", &["10.20.0.2"]);
        let _public = [public_server("spoke", "10.1.0.53"), public_server("far", "10.3.0.53")];
        let _postgres = postgres();
        fs::write("/run/ask.c", ASK_MUSL).expect("written");
        run("musl-gcc", "-static -Wall -Werror -o /run/ask /run/ask.c");
        let server = "[[resource]]\nname = \"orders\"\ntype = \"Microsoft.Sql/servers\"\nvnet = \"core\"\nnat = \
                      [\"10.20.99.4\"]\ntargets = [{ subresource = \"sqlServer\", backends = [\"10.20.0.2\"], ports = \
                      [{ protocol = \"tcp\", port = 5432 }] }]\n";
        let dns =
            |network: u8| format!("dns = {{ listen = \"10.{network}.255.254\", upstream = \"10.{network}.0.53\" }}");
        let bound = |name: &str, ip: &str| {
            endpoint(name, "spoke", ip, "orders", "Approved")
                .replace("[[endpoint]]", "[[endpoint]]\nsubresource = \"sqlServer\"")
        };
        let _daemon = Daemon::start(
            &[
                daemon_table(""),
                attachment("spoke"),
                attachment("far"),
                attachment("core"),
                consumer_vnet("spoke", &dns(1)),
                consumer_vnet("far", &dns(3)).replace("10.1.", "10.3."),
                CORE.to_owned(),
                server.to_owned(),
                bound("orders", "10.1.9.4"),
                bound("again", "10.1.9.5"),
            ]
            .concat(),
        );
        let musl = |namespace: &str, resolver: &str, name: &str| {
            let output = client(namespace, resolver, &format!("/run/ask {name}"));
            let mut found: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
            found.sort();
            found
        };
        let both = ["10.1.9.4", "10.1.9.5"];
        eventually("the resolver answers", || answers("spoke", "10.1.255.254", SERVER) == both);
        assert_eq!(musl("spoke", "10.1.255.254", SERVER), both);

        let query = format!("psql -h {SERVER} -U demo -d postgres -qAtc 'select host(inet_client_addr())'");
        let output = client("spoke", "10.1.255.254", &format!("env PGCONNECT_TIMEOUT=5 {query}"));
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.trim(), "10.20.99.4", "{wrong}");

        // The same name where no endpoint is.
        eventually("the other resolver answers", || !answers("far", "10.3.255.254", SERVER).is_empty());
        assert_eq!(answers("far", "10.3.255.254", SERVER), ["203.0.113.10"]);
        assert_eq!(musl("far", "10.3.255.254", SERVER), ["203.0.113.10"]);
        for name in ["orders", "again"] {
            ask(&format!("connection reject {name} --reason no"));
        }
        eventually("it is nobody's name", || answers("spoke", "10.1.255.254", SERVER).is_empty());
        assert!(musl("spoke", "10.1.255.254", SERVER).is_empty());
        assert_eq!(musl("far", "10.3.255.254", SERVER), ["203.0.113.10"]);
    });
}
