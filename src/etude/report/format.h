#pragma once
// Numbers, amounts and intervals as people read them: the same in the terminal, in Markdown and in HTML,
// and in every locale. They use a few characters beyond ASCII; plain() writes those with ASCII.

#include <optional>
#include <string>
#include <string_view>

#include "etude/report/statistics.h"

namespace etude::report {

/// With so many digits behind the point: "2.3360", "-0.04" (with a true minus sign).
std::string fixed(double value, int decimals);
/// With a sign in any case: "+0.041".
std::string with_sign(double value, int decimals);
/// With so many significant digits: "2.34", "0.00103", "12400", "1.2e-9".
std::string significant(double value, int digits);

/// As someone would write it: "0.02", "5".
std::string shortest(double value);

/// Digits behind the point so that an uncertainty shows its first two digits; between 0 and 6.
int decimals_for(double uncertainty);

/// "2.336 ± 0.012"; without the second part when n < 2. Digits by decimals_for() if not given.
std::string mean_and_sd(double mean, double sd, int64_t n, std::optional<int> decimals = {});
/// "+0.041 [+0.035, +0.047]"; only the mean when n < 2.
std::string mean_and_interval(const Interval& interval, std::optional<int> decimals = {});

std::string bytes_text(double bytes);      ///< "1.64 GB" (powers of 1000)
std::string count_text(double count);      ///< "12 800", "3.4 M", "51 T"
std::string seconds_text(double seconds);  ///< "9.6 ms", "48 s", "2 min 05 s", "1 h 12 min"

/// Each of the commits in a list "4fc1..., 90aa..." by its first 12 digits.
std::string short_commits(std::string_view commits);

/// For HTML, SVG and their attributes: bytes that may not stand there as '?', markup as entities.
std::string escaped(std::string_view text);

/// Our characters beyond ASCII in ASCII ("+-", "-"); any other becomes '?'.
std::string plain(std::string_view text);

}  // namespace etude::report
