# More cases than the reference folder has: competing risks, delayed entry, strata, ridge, Firth, hazard ratios that
# change with time. Data made here, numbers by R.
`%||%` <- function(a, b) if (is.null(a)) b else a
# Rscript tests/reference/survival_more.R > tests/reference/survival_more.json
suppressMessages({library(cmprsk); library(survival); library(jsonlite)})
set.seed(3)
out <- list()
for (name in c("competing_untied", "competing_tied")) {
  n <- if (name == "competing_tied") 90 else 120
  x <- round(rnorm(n), 3); z <- rbinom(n, 1, .4)
  a <- rexp(n, .1 * exp(.5 * x + .3 * z)); b <- rexp(n, .07 * exp(-.2 * x)); c <- rexp(n, .06)
  time <- round(pmin(a, b, c), if (name == "competing_tied") 0 else 4)
  event <- ifelse(a <= pmin(b, c), 1, ifelse(b <= c, 2, 0))
  g3 <- ifelse(x > .5, 2, ifelse(x < -.5, 0, 1)); at <- c(2, 5, 8)
  fit <- crr(time, event, cbind(x = x, z = z), gtol = 1e-12, maxiter = 50)
  cif <- summary(survfit(Surv(time, factor(event, 0:2)) ~ 1), times = at)
  cause <- coxph(Surv(time, event == 2) ~ x + z)
  out[[name]] <- list(time = time, event = event, x = x, z = z, g3 = g3, at = at,
    fine_gray_coef = unname(fit$coef), fine_gray_se = sqrt(diag(fit$var)),
    gray2 = unname(cuminc(time, event, z)$Tests[1, 1]), gray3 = unname(cuminc(time, event, g3)$Tests[1, 1]),
    cif = cif$pstate[, 2], cif_se = cif$std.err[, 2], cif_competing = cif$pstate[, 3],
    cif_low = cif$lower[, 2], cif_high = cif$upper[, 2], cause_coef = unname(coef(cause)))
}
n <- 100; x <- round(rnorm(n), 2); z <- rbinom(n, 1, .5); start <- round(runif(n, 0, 6))
time <- start + 1 + round(rexp(n, .15 * exp(.6 * x))); event <- rbinom(n, 1, .7)
S <- Surv(start, time, event); at <- c(3, 6, 10)
fit <- coxph(S ~ x + z, control = coxph.control(eps = 1e-14, iter.max = 50)); km <- survfit(S ~ 1, conf.type = "log-log")
s <- summary(km, times = at); cc <- concordance(S ~ x, reverse = TRUE)
zph <- sapply(c("km", "rank", "identity", "log"), function(t) cox.zph(fit, t)$table[, 1])
out$delayed_entry <- list(start = start, time = time, event = event, x = x, z = z, at = at,
  surv = s$surv, low = s$lower, high = s$upper, at_risk = s$n.risk, median = unname(summary(km)$table["median"]),
  coef = unname(coef(fit)), se = unname(sqrt(diag(vcov(fit)))), loglik = fit$loglik, zph = as.list(as.data.frame(zph)),
  c = unname(cc$concordance), c_se = unname(sqrt(cc$var)))
v <- veteran
out$strata <- list(time = v$time, event = v$status, trt = v$trt, celltype = as.character(v$celltype), karno = v$karno,
  logrank = survdiff(Surv(time, status) ~ trt + strata(celltype), v)$chisq,
  logrank4 = survdiff(Surv(time, status) ~ celltype, v)$chisq,
  ridge = unname(coef(coxph(Surv(time, status) ~ ridge(karno, trt, theta = 20), v, control = coxph.control(eps = 1e-12)))),
  uno_tau = unname(concordance(Surv(time, status) ~ karno, v, timewt = "n/G2", ymax = 200)$concordance))
w <- rexp(length(v$time)); w <- round(w + .5, 2)
weighted <- coxph(Surv(time, status) ~ karno + trt, v, weights = w, control = coxph.control(eps = 1e-14, iter.max = 50))
out$strata$weights <- w; out$strata$weighted_coef <- unname(coef(weighted))
out$strata$weighted_se <- unname(sqrt(diag(weighted$naive.var %||% weighted$var)))
# Firth's Cox model: R's partial likelihood (Breslow) plus half the log determinant of its information, maximised by R.
firth <- function(S, X) {
  pl <- function(b) tryCatch({ f <- coxph(S ~ X, init = b, ties = "breslow", control = coxph.control(iter.max = 0))
    f$loglik[2] - log(det(vcov(f))) / 2 }, error = function(e) -1e6)
  span <- 6 / apply(X, 2, sd)
  p <- ncol(X); best <- rep(0, p)
  for (k in 1:4) best <- optim(best, function(b) -pl(b), method = "BFGS", control = list(reltol = 1e-15, ndeps = rep(1e-5, p)))$par
  for (k in 1:3) best <- optim(best, function(b) -pl(b), control = list(reltol = 1e-15, maxit = 5000))$par
  top <- pl(best)
  profile <- function(j, v) if (p == 1) pl(v) else
    -optim(best[-j], function(r) { b <- numeric(p); b[j] <- v; b[-j] <- r; -pl(b) }, method = "BFGS", control = list(reltol = 1e-14))$value
  goal <- top - qchisq(.95, 1) / 2
  ends <- sapply(1:p, function(j) c(
    uniroot(function(v) profile(j, v) - goal, c(best[j] - span[j], best[j]), tol = 1e-9)$root,
    uniroot(function(v) profile(j, v) - goal, c(best[j], best[j] + span[j]), tol = 1e-9)$root))
  list(coef = best, low = ends[1, ], high = ends[2, ],
    p = sapply(1:p, function(j) pchisq(2 * (top - profile(j, 0)), 1, lower.tail = FALSE)))
}
set.seed(7); n <- 40; x <- round(rnorm(n), 2); z <- c(rep(1, 6), rep(0, n - 6))
time <- round(rexp(n, .1 * exp(.8 * x)), 1) + .1; event <- rbinom(n, 1, .6); event[z == 1] <- 0  # z: no event on one side
out$firth_separated <- c(list(time = time, event = event, X = cbind(x, z)), firth(Surv(time, event), cbind(x, z)))
v <- veteran[veteran$celltype == "large", ]; X <- cbind(v$karno, v$trt, v$age)
out$firth_veteran <- c(list(time = v$time, event = v$status, X = X), firth(Surv(v$time, v$status), X))
# A hazard ratio that changes with time: with log(t), and before and after a time; also with ties and delayed entry.
set.seed(11); n <- 150; x <- round(rnorm(n), 2)
for (name in c("time_varying", "time_varying_entry")) {
  time <- round(rexp(n, .02 * exp(.9 * x)) ^ .8 + .5, if (name == "time_varying") 0 else 2) + 1; event <- rbinom(n, 1, .75)
  start <- if (name == "time_varying") rep(0, n) else round(runif(n) * .5 * time, 2)
  S <- if (name == "time_varying") Surv(time, event) else Surv(start, time, event)
  tight <- coxph.control(eps = 1e-14, iter.max = 50)
  fit <- coxph(S ~ x + tt(x), tt = function(x, t, ...) x * log(t), control = tight)
  split <- sort(time[event == 1])[(sum(event) - 1) %/% 2 + 1]
  parts <- survSplit(Surv(start, time, event) ~ ., data.frame(start, time, event, x), cut = split, episode = "part")
  step <- coxph(Surv(start, time, event) ~ x:strata(part), parts, control = tight)
  out[[name]] <- list(start = start, time = time, event = event, x = x, split = split, coef = unname(coef(fit)),
    cov = as.vector(vcov(fit)), step = unname(coef(step)), step_se = unname(sqrt(diag(vcov(step)))))
}
cat(toJSON(out, auto_unbox = TRUE, digits = NA, na = "null", pretty = FALSE), "\n")
