//! Devices that somebody sets down and up again, or takes away.

use std::io::{ErrorKind, Read as _, Write as _};

use crate::lab::{Daemon, eventually, ip, isolated, orders, two_legs};
use crate::peers::{connect, connect_once, greeted, serve, tcp, udp};

const SERVICE: &str = "10.1.9.4:7";

fn is_unreachable(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
}

#[test]
fn a_device_set_down_and_up_again_has_its_routes_and_sessions() {
    isolated("faults::devices::a_device_set_down_and_up_again_has_its_routes_and_sessions", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let mut daemon = Daemon::start(&orders("Approved"));
        let mut stream = connect("spoke", "10.1.0.5:0", SERVICE).expect("connected");
        assert_eq!(greeted(&mut stream).expect("greeted"), "echo");
        for (namespace, device) in [("spoke", "pl-spoke"), ("core", "pl-core")] {
            ip(&format!("-n {namespace} link set {device} down"));
            if namespace == "spoke" {
                // Law 9: behind the route that went with it stands another.
                let error = connect("spoke", "10.1.0.5:0", SERVICE).expect_err("no way");
                assert!(is_unreachable(error), "{error:?}");
            } else {
                connect_once("spoke", "10.1.0.5:0", SERVICE).expect_err("nothing leaves");
            }
            ip(&format!("-n {namespace} link set {device} up"));
            eventually("new connections pass", || tcp("spoke", "10.1.0.5:0", SERVICE).is_ok());
            assert!(udp("spoke", "10.1.0.5:0", SERVICE).is_ok());
            stream.write_all(b"still").expect("sent");
            stream.read_exact(&mut [0; 5]).expect("the old connection goes on");
        }
        assert!(!daemon.has_ended());
    });
}

#[test]
fn without_its_device_the_daemon_ends_closed() {
    isolated("faults::devices::without_its_device_the_daemon_ends_closed", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let mut daemon = Daemon::start(&orders("Approved"));
        assert!(tcp("spoke", "10.1.0.5:0", SERVICE).is_ok());
        ip("-n core link delete pl-core");
        eventually("the daemon ends", || daemon.has_ended());
        assert!(!daemon.end().success());
        let error = connect("spoke", "10.1.0.5:0", SERVICE).expect_err("no way");
        assert!(is_unreachable(error), "{error:?}");
    });
}
