// What must hold of a store after any crash, whatever was under way.
#pragma once

#include <string>

#include "crash/ledger.hpp"
#include "support/fault_env.hpp"

namespace stillframe::test {

// Starts a process on the disk as after a boot (opens, recovers), looks at everything, goes on working, and, when
// `deep`, cuts the power once more. Empty when all is as promised; else what is not. Changes the disk.
//
// - what was acknowledged is there: checkpoints open through CheckpointReader and every chunk is what it was given,
//   marks stand; what was under way is whole or absent; what was removed is gone
// - nothing old went before a newer one of its run was verified
// - nothing but checkpoints and the store's own files is left; a second recovery changes nothing
// - no sequence is handed out twice; a further commit works and is durable
[[nodiscard]] std::string find_wrong(FaultEnv& disk, Ledger ledger, bool deep);

}  // namespace stillframe::test
