//! The guest kernel's own counters of TCP.

use crate::error::BenchError;
use crate::lab::Namespace;

/// Retransmission timeouts in a namespace since it began.
pub(crate) fn timeouts(namespace: &Namespace) -> Result<f64, BenchError> {
    let table = namespace.proc_net("netstat")?;
    counter(&table, "TcpExt:", "TCPTimeouts").ok_or_else(|| BenchError::Answer {
        program: "/proc/net/netstat".to_owned(),
        missing: "TCPTimeouts".to_owned(),
    })
}

/// A counter of a table with a line of names before each line of values.
fn counter(table: &str, group: &str, name: &str) -> Option<f64> {
    let mut lines = table.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let index = names.split_whitespace().position(|word| word == name)?;
    let value: u32 = values.split_whitespace().nth(index)?.parse().ok()?;
    Some(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::counter;

    #[test]
    fn a_counter_is_found_by_its_group_and_name() {
        let table = "IpExt: A B\nIpExt: 1 2\nTcpExt: B C\nTcpExt: 3 4\n";
        assert_eq!(counter(table, "TcpExt:", "B"), Some(3.0));
        assert_eq!(counter(table, "IpExt:", "B"), Some(2.0));
        assert_eq!(counter(table, "TcpExt:", "A"), None);
    }
}
