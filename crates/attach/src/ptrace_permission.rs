//! Whether this process may trace another one, as debuggers do that attach (ptrace(2), "Ptrace access mode checking";
//! Yama in the kernel's admin guide).

use p2pdbg_proto::attach::Refusal;

use crate::process::Process;

/// The capability to trace any process (capabilities(7)).
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// Where Yama, if the kernel has it, says who may trace.
const YAMA: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// What stands in the way of a debugger that this process starts.
pub(crate) fn may_trace(process: &Process) -> Result<(), Refusal> {
    if let Some(tracer) = process.tracer() {
        return Err(Refusal::Traced(tracer));
    }
    if process.is_in_container() {
        return Err(Refusal::Container);
    }
    let scope = std::fs::read_to_string(YAMA).unwrap_or_default();
    let scope = scope.trim().parse().unwrap_or(0);
    judge(scope, Process::own_capabilities())
}

/// A debugger that is started here is no ancestor of the program, so nothing but scope 0 or the capability will do.
fn judge(scope: u8, capabilities: u64) -> Result<(), Refusal> {
    let is_capable = capabilities & CAP_SYS_PTRACE != 0;
    match scope {
        0 => Ok(()),
        1 | 2 if is_capable => Ok(()),
        scope => Err(Refusal::TracingForbidden(scope)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracing_is_forbidden_as_yama_has_it() {
        let forbidden = |scope| Err(Refusal::TracingForbidden(scope));
        assert_eq!(judge(0, 0), Ok(()));
        assert_eq!(judge(1, 0), forbidden(1));
        assert_eq!(judge(2, CAP_SYS_PTRACE), Ok(()));
        assert_eq!(judge(3, u64::MAX), forbidden(3));
    }

    #[test]
    fn process_that_is_traced_is_named_with_who_traces_it() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let process = crate::process::find(child.id()).unwrap();
        assert_eq!((process.tracer(), process.is_in_container()), (None, false));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
