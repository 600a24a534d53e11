//! Which of two devices makes a run: the one that is estimated to be faster. Numbers in, a reason out.

use std::time::Duration;

use super::DeviceReport;
use crate::{gpu::AdapterInfo, plan::Estimate};

/// One of two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Cpu,
    Gpu,
}

/// What is known of a run on the GPU.
pub(super) enum Candidate {
    Able {
        estimate: Estimate,
        /// Whether nobody measured the device.
        is_assumed: bool,
    },
    /// Why it cannot be made there.
    Unable(String),
}

/// The place of a run, and what there is to say about it.
pub(super) fn choose(cpu: &Estimate, gpu: &Candidate, adapter: &AdapterInfo) -> (Place, DeviceReport) {
    let (estimate, is_assumed) = match gpu {
        Candidate::Able { estimate, is_assumed } => (estimate, *is_assumed),
        Candidate::Unable(why) => {
            return (Place::Cpu, DeviceReport::of("cpu", format!("{} cannot make it: {why}", adapter.name)));
        }
    };
    let place = if estimate.total() < cpu.total() { Place::Gpu } else { Place::Cpu };
    let assumed = match is_assumed {
        true => format!(", as is assumed of {} adapters", adapter.kind.name()),
        false => String::new(),
    };
    let here = format!("{} (mostly {})", time_text(cpu), cpu.mostly());
    let there = format!("{} (mostly {}{assumed})", time_text(estimate), estimate.mostly());
    let report = match place {
        Place::Cpu => DeviceReport::of("cpu", format!("an estimated {here} against {there} on {adapter}")),
        Place::Gpu => {
            DeviceReport::of("gpu", format!("an estimated {there} against {here} on the CPU")).with_adapter(adapter)
        }
    };
    let [cpu_estimate, gpu_estimate] = [cpu, estimate].map(|estimate| Some(duration(estimate.total())));
    (place, DeviceReport { cpu_estimate, gpu_estimate, ..report })
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// In three digits or so.
fn time_text(estimate: &Estimate) -> String {
    let (value, unit) = match estimate.total() {
        seconds if seconds < 1e-3 => (seconds * 1e6, "us"),
        seconds if seconds < 1.0 => (seconds * 1e3, "ms"),
        seconds => (seconds, "s"),
    };
    match value {
        value if value < 10.0 => format!("{value:.2} {unit}"),
        value if value < 100.0 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        cell::Cell,
        cpu,
        gpu::{self, AdapterKind, ProgramOptions, made_up_traits},
        model::{LayerKind, Model, Recurrent},
        plan::{Plan, PlanOptions},
        tensor::Tensor,
    };

    /// Layers of `hidden` units over as many features.
    fn stack(cell: Cell, hidden: usize, layers: usize) -> Plan {
        let weight = || {
            let rows = cell.spec().gates.len() * hidden;
            Arc::new(Tensor::new([rows, hidden], vec![0.0f32; rows * hidden]).unwrap())
        };
        let mut model = Model::builder("stack");
        let mut x = model.input("x", &[None, Some(hidden)]).unwrap();
        for layer in 0..layers {
            let recurrent = Recurrent::new(cell, weight(), weight());
            x = model.add(&format!("layer{layer}"), LayerKind::Recurrent(recurrent), &[x]).unwrap();
        }
        model.output("y", x).unwrap();
        Plan::new(&model.build().unwrap(), &PlanOptions::default()).unwrap()
    }

    /// A machine: its CPU and how many threads of it, its GPU, and what that was measured to do, if it was.
    struct Machine {
        name: &'static str,
        cpu: cpu::Calibration,
        threads: usize,
        adapter: AdapterInfo,
        measured: Option<gpu::Calibration>,
    }

    fn adapter(kind: AdapterKind) -> AdapterInfo {
        AdapterInfo {
            name: "GPU".to_owned(),
            kind,
            backend: "vulkan".to_owned(),
            driver: String::new(),
            bus: String::new(),
            max_buffer_bytes: 0,
            max_binding_bytes: 0,
            max_workgroup_bytes: 0,
            max_invocations: 0,
            is_default: true,
        }
    }

    fn machines() -> Vec<Machine> {
        let small = cpu::Calibration {
            multiply_adds: 3e10,
            cache_bandwidth: 7e10,
            memory_bandwidth: 1.5e10,
            cache_bytes: 8 << 20,
            hand_over: 2e-7,
        };
        let large = cpu::Calibration {
            multiply_adds: 6e10,
            cache_bandwidth: 1.2e11,
            memory_bandwidth: 2.5e10,
            cache_bytes: 2 << 20,
            hand_over: 3e-7,
        };
        let fast = gpu::Calibration {
            round_trip: 6e-5,
            dispatch: 3e-6,
            memory_bandwidth: 3e12,
            cache_bandwidth: 6e12,
            multiply_adds: 3e13,
            resident_workgroups: 1056,
        };
        let machine = |name, cpu, threads, kind, measured| {
            let adapter = adapter(kind);
            Machine { name, cpu, threads, adapter, measured }
        };
        let (discrete, integrated) = (AdapterKind::Discrete, AdapterKind::Integrated);
        vec![
            machine("2 threads, some GPU", small, 2, discrete, None),
            machine("2 threads, some integrated GPU", small, 2, integrated, None),
            machine("2 threads, a fast GPU", small, 2, discrete, Some(fast)),
            machine("16 threads, some GPU", large, 16, discrete, None),
            machine("16 threads, a fast GPU", large, 16, discrete, Some(fast)),
        ]
    }

    impl Machine {
        fn estimates(&self, plan: &Plan, shape: [usize; 3], threads: usize) -> [Estimate; 2] {
            let bound = plan.bind(&[shape.to_vec()]).unwrap();
            let figures = self.measured.unwrap_or(gpu::Calibration::expected(self.adapter.kind));
            let options = ProgramOptions::default();
            [
                cpu::estimate(plan, &bound, &self.cpu, threads),
                gpu::estimate(plan, &bound, &made_up_traits(), &options, &figures).unwrap(),
            ]
        }

        fn choose(&self, plan: &Plan, shape: [usize; 3]) -> (Place, DeviceReport) {
            let [cpu, estimate] = self.estimates(plan, shape, self.threads);
            choose(&cpu, &Candidate::Able { estimate, is_assumed: self.measured.is_none() }, &self.adapter)
        }
    }

    /// What is chosen, and why, over a grid of machines and sizes. A change here is a change for users.
    #[test]
    fn choices_and_reasons() {
        let mut lines = Vec::new();
        let plans: Vec<_> = [16, 128, 512, 1024].map(|hidden| (hidden, stack(Cell::Lstm, hidden, 1))).into();
        for machine in machines() {
            for (hidden, plan) in &plans {
                for (batch, seq_len) in [(1, 1), (1, 100), (16, 100), (256, 1), (256, 100)] {
                    let (place, report) = machine.choose(plan, [batch, seq_len, *hidden]);
                    assert_eq!(report.kind, if place == Place::Cpu { "cpu" } else { "gpu" });
                    let (name, kind, reason) = (machine.name, report.kind, &report.reason);
                    lines.push(format!("{name}: LSTM {hidden}, batch {batch}, seq_len {seq_len}: {kind}: {reason}"));
                }
            }
        }
        assert_eq!(lines.join("\n"), include_str!("device_choices.txt").trim_end(), "\n{}", lines.join("\n"));
    }

    #[test]
    fn a_tiny_stream_is_the_cpus_and_a_large_batch_a_fast_gpus() {
        for machine in machines() {
            for cell in Cell::ALL {
                let (place, report) = machine.choose(&stack(cell, 16, 2), [1, 1, 16]);
                assert_eq!(place, Place::Cpu, "{}: {}", machine.name, report.reason);
                let (place, report) = machine.choose(&stack(cell, 512, 2), [512, 100, 512]);
                let is_clear = machine.measured.is_some() && machine.threads < 16;
                assert!(place == Place::Gpu || !is_clear, "{}: {}", machine.name, report.reason);
            }
        }
    }

    /// More work never takes less time: with one thread, since how it is shared out to several depends on the sizes.
    #[test]
    fn more_takes_longer() {
        for machine in machines() {
            for hidden in [8, 64, 200, 600] {
                let plan = stack(Cell::Gru, hidden, 2);
                let total = |batch, seq_len| {
                    machine.estimates(&plan, [batch, seq_len, hidden], 1).map(|estimate| estimate.total())
                };
                for batch in [1, 3, 4, 16, 64, 65, 300] {
                    for seq_len in [1, 2, 16, 100, 1000] {
                        let ([cpu, gpu], [more_cpu, more_gpu]) = (total(batch, seq_len), total(batch, 2 * seq_len));
                        assert!(cpu <= more_cpu && gpu <= more_gpu, "{}, {hidden}, {batch}, {seq_len}", machine.name);
                        let [more_cpu, more_gpu] = total(2 * batch, seq_len);
                        assert!(cpu <= more_cpu && gpu <= more_gpu, "{}, {hidden}, {batch}, {seq_len}", machine.name);
                    }
                }
            }
        }
        let machine = machines().swap_remove(0);
        let of = |hidden, layers| {
            machine.estimates(&stack(Cell::Lstm, hidden, layers), [4, 50, hidden], 1).map(|estimate| estimate.total())
        };
        for hidden in [16, 32, 128, 512] {
            let ([cpu, gpu], [wide_cpu, wide_gpu], [deep_cpu, deep_gpu]) =
                (of(hidden, 1), of(2 * hidden, 1), of(hidden, 3));
            assert!(cpu < wide_cpu && cpu < deep_cpu && gpu < wide_gpu && gpu < deep_gpu, "{hidden}");
        }
    }

    #[test]
    fn nothing_to_do_takes_no_time_on_the_cpu_and_a_way_there_and_back_elsewhere() {
        let machine = machines().swap_remove(0);
        let plan = stack(Cell::Lstm, 8, 1);
        for shape in [[0, 5, 8], [3, 0, 8]] {
            let [cpu, gpu] = machine.estimates(&plan, shape, 2);
            assert!(cpu.total() < 1e-5 && gpu.total() < 1e-3 && gpu.total() > 1e-4, "{shape:?} {cpu:?} {gpu:?}");
        }
    }

    #[test]
    fn what_the_gpu_cannot_make_is_the_cpus() {
        let machine = machines().swap_remove(2);
        let plan = stack(Cell::Lstm, 512, 1);
        let [cpu, _] = machine.estimates(&plan, [512, 100, 512], 1);
        let (place, report) = choose(&cpu, &Candidate::Unable("too large".to_owned()), &machine.adapter);
        assert_eq!((place, report.reason.as_str()), (Place::Cpu, "GPU cannot make it: too large"));
    }
}
