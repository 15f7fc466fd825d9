#pragma once
// The report of a comparison, or of a single run, as one HTML file that needs nothing else: no network, no
// script (a few lines read out curves where there is one), light, dark, on paper and on a phone.

#include <string>

#include "etude/report/results.h"

namespace etude::report {

/// Stays under 2 MB: curves are thinned, and of more than 2000 finished runs the last are only counted.
std::string to_html(const Comparison& comparison);

/// Makes the folder. Errors: Code::io.
void write_html(const std::string& path, const Comparison& comparison);

}  // namespace etude::report
