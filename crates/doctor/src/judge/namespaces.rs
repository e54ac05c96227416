//! Namespaces for commands: `net exec`, and how images are built without root.

use atoll_runtime::namespace::{Refused, Trial};

use crate::check::{Area, Check, Need, Status};

const NEEDS: &[Need] = &[Need::NetExec];

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    /// What a process of its own came to, or why there was none.
    pub(crate) trial: Result<Trial, String>,
    /// Whether `/dev/net/tun` opens in the host's own namespace, or why not: what is known when no namespace can be had.
    pub(crate) device: Result<(), Refused>,
}

/// What that means.
pub(crate) fn judge(found: &Namespaces) -> Vec<Check> {
    let trial = match &found.trial {
        Ok(trial) => trial,
        Err(reason) => {
            let words = format!("whether namespaces can be made could not be tried: {reason}");
            return vec![check("user-namespace", Status::Fail, words), device(found)];
        }
    };
    let users = step(
        "user-namespace",
        &trial.users,
        "a user namespace can be made, with this user as its root",
    );
    let network = trial
        .network
        .as_ref()
        .map(|it| step("network-namespace", it, "a network namespace can be made in it"));
    let tap = trial.tap.as_ref().map(|it| {
        step(
            "tap",
            &it.clone().map(drop),
            "a TAP can be made in it (/dev/net/tun)",
        )
    });
    let segments = match trial.tap {
        Some(Ok(is_offered)) => Some(udp_segments(is_offered)),
        _ => None,
    };
    let mut checks = vec![users];
    checks.extend(network);
    checks.push(tap.unwrap_or_else(|| device(found)));
    checks.extend(segments);
    checks
}

fn check(name: &str, status: Status, found: impl Into<String>) -> Check {
    Check::new(Area::Namespaces, name, status, found).needed_for(NEEDS)
}

fn step(name: &str, tried: &Result<(), Refused>, works: &str) -> Check {
    match tried {
        Ok(()) => check(name, Status::Ok, works),
        Err(refused) => check(name, Status::Fail, refused.reason.clone()).fix_if(refused.hint.clone()),
    }
}

fn device(found: &Namespaces) -> Check {
    match &found.device {
        Ok(()) => {
            let words = "/dev/net/tun opens, but no TAP could be tried without a namespace";
            check("tap", Status::Note, words)
        }
        Err(refused) => check("tap", Status::Fail, refused.reason.clone()).fix_if(refused.hint.clone()),
    }
}

fn udp_segments(is_offered: bool) -> Check {
    if is_offered {
        return check(
            "tap-udp",
            Status::Ok,
            "TAPs are handed UDP in large segments (USO)",
        );
    }
    let words = "this kernel cuts UDP for TAPs itself: it has USO for both families from Linux 6.2 on";
    check("tap-udp", Status::Note, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: &str, hint: &str) -> Refused {
        Refused {
            reason: reason.to_owned(),
            hint: Some(hint.to_owned()),
        }
    }

    fn judged(
        users: Result<(), Refused>,
        network: Option<Result<(), Refused>>,
        tap: Option<Result<bool, Refused>>,
    ) -> Vec<Check> {
        judge(&Namespaces {
            trial: Ok(Trial { users, network, tap }),
            device: Ok(()),
        })
    }

    #[test]
    fn a_laptop_has_nothing_to_complain_of() {
        let checks = judged(Ok(()), Some(Ok(())), Some(Ok(true)));
        assert_eq!(checks.len(), 4);
        assert!(checks.iter().all(|it| it.status == Status::Ok), "{checks:#?}");
    }

    #[test]
    fn ubuntu_2404_refuses_the_users_and_the_setting_is_named() {
        let hint = "ask the administrator: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
        let checks = judged(Err(refused("cannot make a user namespace", hint)), None, None);
        let names: Vec<_> = checks.iter().map(|it| (it.name.as_str(), it.status)).collect();
        assert_eq!(names, [("user-namespace", Status::Fail), ("tap", Status::Note)]);
        assert_eq!(checks[0].fix.as_deref(), Some(hint));
    }

    #[test]
    fn a_device_that_is_closed_is_told_whether_or_not_namespaces_can_be_had() {
        let closed = refused(
            "cannot open /dev/net/tun: Permission denied",
            "chmod 0666 /dev/net/tun",
        );
        let tried = judged(Ok(()), Some(Ok(())), Some(Err(closed.clone())));
        let untried = judge(&Namespaces {
            trial: Err("it did not end".to_owned()),
            device: Err(closed.clone()),
        });
        for checks in [tried, untried] {
            let tap = checks.iter().find(|it| it.name == "tap").unwrap();
            assert_eq!(
                (tap.status, tap.fix.as_ref()),
                (Status::Fail, closed.hint.as_ref())
            );
            assert_eq!(tap.needed_for, NEEDS);
        }
    }

    #[test]
    fn a_kernel_before_usos_time_is_noted() {
        let checks = judged(Ok(()), Some(Ok(())), Some(Ok(false)));
        let udp = checks.iter().find(|it| it.name == "tap-udp").unwrap();
        assert_eq!(udp.status, Status::Note);
    }
}
