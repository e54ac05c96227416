//! What a running machine is given without a restart: forwards, and documents for the next boot that asks.

use atoll_runtime::ForwardSpec;
use atoll_spec as spec;

use crate::networks::{forward_specs, forward_target};
use crate::plan::{Row, Step};
use crate::problem::Problem;
use crate::state::Started;
use crate::steps::{Job, named};

impl Job<'_> {
    /// Ends the forwards that running machines shall not have any longer, before any machine gets a new one: a port may go from one to
    /// another.
    pub(crate) fn end_old_forwards(&self, rows: &[Row]) {
        for row in rows.iter().filter(|row| row.steps.contains(&Step::Adjust)) {
            let shared = self.host.shared();
            let known = shared.state.machines.get(&row.machine);
            let started = known.and_then(|known| Some(&known.started.as_ref()?.machine));
            let Some((old, new)) = started.zip(self.cluster.machine(&row.machine)) else {
                continue;
            };
            let Some((network, guest)) = forward_target(&self.cluster, old) else {
                continue;
            };
            let of_file = |machine: &spec::Machine| -> Vec<ForwardSpec> {
                let forwards = machine.forwards.iter();
                forwards
                    .flat_map(|forward| forward_specs(forward, &guest, machine.loopback))
                    .collect()
            };
            let added = shared
                .state
                .forwards
                .iter()
                .filter(|it| it.machine == row.machine);
            let mut kept: Vec<ForwardSpec> = added.map(|it| it.forward.clone()).collect();
            kept.extend(of_file(new));
            for forward in of_file(old).into_iter().filter(|forward| !kept.contains(forward)) {
                shared.networks.end_forward(network.as_str(), &forward);
            }
        }
    }

    /// Gives a running machine what changed and needs no restart; the rest of it stays as it was started.
    pub(crate) fn adjust(&self, machine: &spec::Machine) -> Result<(), Problem> {
        let name = machine.name.as_str();
        let started = self.host.shared().state.machine(name).started.clone();
        let Some(Started { machine: old, .. }) = started else {
            return Ok(());
        };
        let adjusted = spec::Machine {
            forwards: machine.forwards.clone(),
            automatic: machine.automatic.clone(),
            loopback: machine.loopback,
            user_data: machine.user_data.clone(),
            template: machine.template.clone(),
            ssh: machine.ssh.clone(),
            ..old.clone()
        };
        let is_told_the_same = (&adjusted.user_data, &adjusted.template) == (&old.user_data, &old.template);
        let joined = match is_told_the_same {
            true => self.join_again(&adjusted),
            false => self.join_anew(&adjusted),
        };
        if let Err(problem) = joined {
            // What it had it has again, as far as that goes.
            if let Err(problem) = self.join_again(&old) {
                tracing::warn!(machine = name, %problem, "a change could not be undone");
            }
            return Err(problem);
        }
        self.host.change(|state| {
            if let Some(started) = &mut state.machine(name).started {
                started.machine = adjusted;
            }
        })
    }

    /// The forwards of the file and those added since.
    pub(crate) fn forwards(&self, machine: &spec::Machine) -> Result<(), Problem> {
        let Some((network, guest)) = forward_target(&self.cluster, machine) else {
            return Ok(());
        };
        let shared = self.host.shared();
        let of_file = machine
            .forwards
            .iter()
            .flat_map(|forward| forward_specs(forward, &guest, machine.loopback));
        for forward in of_file {
            shared
                .networks
                .forward(network.as_str(), forward)
                .map_err(|error| named(machine, error))?;
        }
        let added = shared
            .state
            .forwards
            .iter()
            .filter(|it| it.machine == machine.name.as_str());
        for added in added {
            shared
                .networks
                .forward(&added.network, added.forward.clone())
                .map_err(|error| named(machine, error))?;
        }
        Ok(())
    }
}
