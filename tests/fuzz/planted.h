#pragma once
// A bug on purpose, in the programs planted_<target> alone: proof that a target reaches what only well-formed input
// reaches, and that what is wrong there is found in the time that a target gets. The rare property must hold in none
// of the seeds.

#include <cstdlib>

inline void planted([[maybe_unused]] bool rare) {
#ifdef ETUDE_PLANTED_BUG
  if (rare) abort();
#endif
}
