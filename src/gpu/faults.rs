//! Planted faults, so that tests can reach every error of a device. Without the feature
//! `fault-injection` (and outside unit tests) nothing can be planted and the checks fold away.

/// Where a fault can be planted.
#[cfg_attr(not(any(test, feature = "fault-injection")), allow(unreachable_pub))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultPoint {
    /// Creating a buffer.
    CreateBuffer,
    /// Handing commands to the device.
    Submit,
    /// Waiting for commands to end.
    Wait,
    /// Reading results.
    Readback,
}

/// What goes wrong.
#[cfg_attr(not(any(test, feature = "fault-injection")), allow(unreachable_pub, dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The allocation fails.
    OutOfMemory,
    /// The device is lost.
    Lost,
    /// The device does not answer.
    Timeout,
    /// The graphics library panics.
    Panic,
    /// The first value has one wrong bit.
    WrongBit,
}

/// The faults planted in one device.
#[derive(Debug, Default)]
pub(super) struct Faults {
    #[cfg(any(test, feature = "fault-injection"))]
    planted: std::sync::Mutex<Vec<Planted>>,
}

#[cfg(any(test, feature = "fault-injection"))]
#[derive(Debug)]
struct Planted {
    point: FaultPoint,
    /// Passes of the point that still go well.
    passes: u64,
    fault: Fault,
}

#[cfg(any(test, feature = "fault-injection"))]
impl Faults {
    /// Lets the `nth` pass (from 1) of `point` fail, once.
    pub(super) fn plant(&self, point: FaultPoint, nth: u64, fault: Fault) {
        let mut planted = self.planted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        planted.push(Planted { point, passes: nth.saturating_sub(1), fault });
    }

    /// Faults that have not struck yet.
    pub(super) fn planted(&self) -> usize {
        self.planted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }

    /// The fault of this pass of `point`, if one is due.
    pub(super) fn strike(&self, point: FaultPoint) -> Option<Fault> {
        let mut planted = self.planted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = planted.iter().position(|p| p.point == point && p.passes == 0);
        for other in planted.iter_mut().filter(|p| p.point == point) {
            other.passes = other.passes.saturating_sub(1);
        }
        due.map(|index| planted.remove(index).fault)
    }
}

#[cfg(not(any(test, feature = "fault-injection")))]
impl Faults {
    #[expect(clippy::unused_self, reason = "the twin of the version with faults")]
    pub(super) fn strike(&self, _: FaultPoint) -> Option<Fault> {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn strikes_at_the_nth_pass_and_once() {
        let faults = Faults::default();
        faults.plant(FaultPoint::Submit, 2, Fault::Lost);
        assert_eq!(faults.strike(FaultPoint::Wait), None);
        assert_eq!(faults.strike(FaultPoint::Submit), None);
        assert_eq!(faults.strike(FaultPoint::Submit), Some(Fault::Lost));
        assert_eq!(faults.strike(FaultPoint::Submit), None);
    }
}
