-- One statement a line. "ordered:" says that the order of the answer is total and compared too.
SELECT count(*) FROM visits
SELECT count(age), count(w), count(sex) FROM visits
SELECT count_if(age > 40), countif(ok) FROM visits
SELECT sum(age), sum(big), sum(price), sum(w), sum(ok) FROM visits
SELECT avg(age), avg(price), avg(w), avg(big), mean(age) FROM visits
SELECT fsum(w), kahan_sum(w), favg(w), sumkahan(w) FROM visits
SELECT min(age), max(age), min(w), max(w), min(sex), max(sex), min(d), max(ts), min(price), max(ok) FROM visits
SELECT bool_and(ok), bool_or(ok), bool_and(age > 3), bool_or(age IS NULL) FROM visits
SELECT bit_and(age), bit_or(age), bit_xor(age) FROM visits
SELECT var_pop(w), var_samp(w), variance(w), stddev(w), stddev_pop(w), stddev_samp(w), sem(w) FROM visits
SELECT var_pop(age), var_samp(age), stddev(age), sem(age) FROM visits
SELECT stddev_pop(price), var_samp(price) FROM visits
SELECT covar_pop(w, age), covar_samp(w, age), corr(w, age) FROM visits
SELECT regr_slope(w, age), regr_intercept(w, age), regr_r2(w, age) FROM visits
SELECT regr_sxx(w, age), regr_sxy(w, age), regr_syy(w, age), regr_avgx(w, age), regr_avgy(w, age), regr_count(w, age) FROM visits
SELECT skewness(small), kurtosis(small), kurtosis_pop(small) FROM visits
SELECT product(small) FROM visits WHERE id < 6
SELECT geometric_mean(id + 1), geomean(age * age + 1) FROM visits
SELECT weighted_avg(w, id), wavg(age, small) FROM visits
SELECT sex, count(*) FROM visits GROUP BY sex
SELECT sex, count(*), sum(age), avg(age) FROM visits GROUP BY sex
SELECT sex, avg(price), sum(price) FROM visits GROUP BY 1
SELECT sex, stddev(w), var_pop(w), corr(w, age) FROM visits GROUP BY sex
SELECT sex, ok, regr_slope(w, age), regr_r2(w, age), covar_samp(w, age) FROM visits GROUP BY ALL
SELECT sex, skewness(small), kurtosis(small), kurtosis_pop(small) FROM visits GROUP BY sex
SELECT f, count(*) FROM visits GROUP BY f
SELECT f, sum(w), min(f), max(f) FROM visits GROUP BY f
SELECT sum(f), avg(f), max(f), min(f) FROM visits
SELECT age // 10 AS decade, count(*) FROM visits GROUP BY decade
SELECT age % 7 AS m, avg(w) FROM visits GROUP BY m
SELECT date_trunc('month', d) AS month, count(*), sum(price) FROM visits GROUP BY month
SELECT year(d), month(d), count(*) FROM visits GROUP BY year(d), month(d)
SELECT extract(year FROM ts) AS y, max(w) FROM visits GROUP BY y
SELECT CASE WHEN age < 30 THEN 'young' WHEN age < 60 THEN 'middle' ELSE 'old' END AS band, count(*), avg(w) FROM visits GROUP BY band
SELECT upper(sex) || '!' AS s, count(*) FROM visits GROUP BY s
SELECT coalesce(sex, '?') AS s, ok, count(*) FROM visits GROUP BY s, ok
SELECT length(code), count(*) FROM visits GROUP BY length(code)
SELECT sex, count(*) FILTER (WHERE age > 40), sum(w) FILTER (WHERE ok), avg(w) FILTER (WHERE w > 0) FROM visits GROUP BY sex
SELECT stddev(w) FILTER (WHERE ok), corr(w, age) FILTER (WHERE age > 20) FROM visits
SELECT sex, count(*) AS n FROM visits GROUP BY sex HAVING count(*) > 2
SELECT sex, count(*) AS n FROM visits GROUP BY sex HAVING n > 2
SELECT sex, avg(w) AS m FROM visits GROUP BY sex HAVING sum(age) > 50 AND m IS NOT NULL
ordered: SELECT sex, count(*) AS n FROM visits GROUP BY sex ORDER BY sex
ordered: SELECT sex, count(*) AS n FROM visits GROUP BY sex ORDER BY n DESC, sex NULLS FIRST
ordered: SELECT sex, count(*) FROM visits GROUP BY sex ORDER BY count(*) DESC, sex
ordered: SELECT sex, sum(age) AS s FROM visits GROUP BY sex ORDER BY s NULLS FIRST, sex
ordered: SELECT sex, avg(price) FROM visits GROUP BY sex ORDER BY 2 DESC NULLS LAST, 1 NULLS FIRST
ordered: SELECT sex FROM visits GROUP BY sex ORDER BY max(id) DESC
ordered: SELECT code, count(*) AS n FROM visits GROUP BY code ORDER BY n DESC, code LIMIT 2
ordered: SELECT code, count(*) AS n FROM visits GROUP BY code ORDER BY n DESC, code LIMIT 2 OFFSET 1
ordered: SELECT code, ok, count(*) FROM visits GROUP BY ALL ORDER BY ALL
SELECT sex, ok, count(*), sum(w) FROM visits GROUP BY ROLLUP (sex, ok)
SELECT sex, ok, count(*), avg(age) FROM visits GROUP BY CUBE (sex, ok)
SELECT sex, ok, code, count(*) FROM visits GROUP BY GROUPING SETS ((sex, ok), (code), ())
SELECT sex, grouping(sex), ok, grouping(ok), grouping(sex, ok), count(*) FROM visits GROUP BY ROLLUP (sex, ok)
SELECT sex, ok, grouping(ok, sex) AS g, stddev(w) FROM visits GROUP BY CUBE (sex, ok)
SELECT code, sex, count(*) FROM visits GROUP BY code, ROLLUP (sex)
SELECT sex, count(*) FROM visits GROUP BY GROUPING SETS ((sex), ()) HAVING grouping(sex) = 1
ordered: SELECT sex, grouping(sex) AS g, count(*) FROM visits GROUP BY ROLLUP (sex) ORDER BY g, sex NULLS FIRST
SELECT sum(age) + count(*) AS x, avg(w) * 2, sum(price) / 3, round(avg(w), 2) FROM visits
SELECT sex, sum(w) / nullif(count(w), 0) AS m, max(age) - min(age) AS spread FROM visits GROUP BY sex
SELECT CASE WHEN count(*) > 5 THEN 'many' ELSE 'few' END, count(*) FROM visits
SELECT sex, count(*) * 100.0 / sum(count(*)) OVER () AS share FROM visits GROUP BY sex
SELECT code, rank() OVER (ORDER BY count(*) DESC) AS r, count(*) FROM visits GROUP BY code
SELECT code, sex, row_number() OVER (PARTITION BY code ORDER BY count(*) DESC, sex NULLS FIRST) AS r FROM visits GROUP BY code, sex
SELECT code, sum(sum(age)) OVER (ORDER BY code ROWS UNBOUNDED PRECEDING) AS running FROM visits GROUP BY code
SELECT code, count(*) AS n FROM visits GROUP BY code QUALIFY rank() OVER (ORDER BY count(*) DESC, code) <= 2
SELECT code, lag(count(*)) OVER (ORDER BY code) AS before FROM visits GROUP BY code
SELECT DISTINCT count(*) AS n FROM visits GROUP BY sex
ordered: SELECT DISTINCT count(*) AS n FROM visits GROUP BY code ORDER BY n
SELECT count(DISTINCT id) FROM visits
SELECT sex, count(DISTINCT id), sum(DISTINCT id), max(DISTINCT age) FROM visits GROUP BY sex
SELECT sex FROM visits GROUP BY sex
SELECT count(*) FROM visits WHERE age > 1000
SELECT sex, count(*) FROM visits WHERE age > 1000 GROUP BY sex
SELECT sum(age), avg(w), min(sex), stddev(w), corr(w, age), count(w), bool_and(ok) FROM visits WHERE false
SELECT sex, count(*) FROM visits WHERE id < 0 GROUP BY ROLLUP (sex)
SELECT count(*) FROM visits WHERE sex = 'f' AND (age BETWEEN 20 AND 60 OR w IN (1, 2.5, 3)) AND NOT ok
SELECT count(*) FROM visits WHERE sex LIKE 'f%' OR code ILIKE 'A%' OR sex IS NULL
SELECT count(*) FROM visits WHERE d >= DATE '2020-02-01' AND ts < TIMESTAMP '2021-01-01 00:00:00'
SELECT count(*) FROM visits WHERE d + INTERVAL 1 MONTH > DATE '2020-03-01'
SELECT count(*) FROM visits WHERE d - INTERVAL '10 days' < DATE '2020-03-01'
SELECT count(*) FROM visits WHERE regexp_matches(code, '^a') AND starts_with(code, 'a')
SELECT count(*) FROM visits WHERE sex IS DISTINCT FROM 'f'
SELECT count(*) FROM visits WHERE sex NOT IN ('f', 'x') AND age IS NOT NULL
SELECT sum(CAST(code || '1' AS VARCHAR) = 'aa1') FROM visits
SELECT sum(abs(w) + sqrt(age * age)), avg(ln(id + 1)), max(greatest(age, small)), min(least(w, 0.5)) FROM visits
SELECT sum(age::DECIMAL(10, 2) * price), avg(age / 3), sum(age // 2) FROM visits
SELECT sum(CASE WHEN ok THEN 1 ELSE 0 END), avg(CASE WHEN sex = 'f' THEN w END) FROM visits
SELECT sum(-age), sum(+age), avg(age ** 2), sum(pow(small, 3)), sum(age ^ 2) FROM visits
SELECT sum(if(ok, 1, 2)), max(ifnull(sex, 'zz')), min(nullif(code, 'a')) FROM visits
SELECT max(date_diff('day', d, DATE '2022-01-01')), min(dayofweek(d)), max(hour(ts)) FROM visits
SELECT min(strftime(d, '%Y-%m')), max(substr(code, 1, 1)), min(replace(code, 'a', 'b')) FROM visits
SELECT v.sex, count(*) FROM visits v WHERE v.age > 10 GROUP BY v.sex
SELECT visits.sex, count(visits.age) FROM main.visits GROUP BY visits.sex
SELECT "sex" AS "the sex", count(*) AS "select" FROM "visits" GROUP BY "sex"
SELECT SEX, COUNT(*) FROM VISITS GROUP BY Sex
SELECT c.label, count(*), avg(v.w) FROM visits v JOIN codes c ON v.code = c.code GROUP BY c.label
SELECT label, count(*) FROM visits JOIN codes USING (code) GROUP BY label
SELECT label, sum(weight * age) FROM visits LEFT JOIN codes USING (code) GROUP BY label
SELECT c.label, count(v.id) FROM codes c RIGHT JOIN visits v ON v.code = c.code GROUP BY c.label
SELECT code, count(*) FROM codes JOIN visits USING (code) GROUP BY code
SELECT count(*) FROM visits CROSS JOIN codes
SELECT count(*) FROM visits, codes WHERE visits.code = codes.code AND weight > 1
SELECT count(*) FROM visits SEMI JOIN codes USING (code)
SELECT count(*) FROM visits ANTI JOIN codes USING (code)
SELECT kind, count(*), avg(value), sum(w) FROM visits JOIN labs USING (id) GROUP BY kind
SELECT kind, count(*), count(v.id) FROM labs l LEFT JOIN visits v ON l.id = v.id AND v.age > 20 GROUP BY kind
SELECT count(*), count(v.id), count(l.id), sum(l.value) FROM visits v FULL JOIN labs l ON v.id = l.id
SELECT count(*) FROM visits v RIGHT JOIN labs l ON l.id = v.id WHERE v.id IS NULL
SELECT count(*) FROM visits v, labs l WHERE v.id = l.id AND l.value > 1
SELECT corr(value, age), regr_slope(value, age) FROM visits JOIN labs USING (id)
SELECT label, kind, count(*) FROM visits v JOIN labs l ON v.id = l.id LEFT JOIN codes c ON c.code = v.code GROUP BY ALL
SELECT count(*) FROM visits a JOIN visits b ON a.id = b.id AND a.age < b.age
SELECT count(*) FROM visits a JOIN visits b ON a._pod = b._pod AND a.id < b.id
SELECT _pod, count(*) FROM visits GROUP BY _pod
SELECT count(*) FROM visits WHERE _pod = 'alpha'
SELECT sex, sum(w) FROM visits WHERE _pod IN ('alpha', 'nowhere') GROUP BY sex
SELECT count(*), sum(age) FROM visits WHERE _pod = 'nowhere'
SELECT count(DISTINCT _pod) FROM visits WHERE _pod = 'alpha'
SELECT _pod || '-' || sex AS x, count(*) FROM visits GROUP BY x
SELECT count(*) FROM codes
SELECT label, sum(weight), count(*) FROM codes GROUP BY label
ordered: SELECT * FROM codes ORDER BY code
SELECT id, sex, age FROM visits
SELECT * FROM visits
SELECT * EXCLUDE (f, w) FROM visits WHERE age > 30
SELECT id, age + 1 AS older, upper(sex) FROM visits WHERE ok
ordered: SELECT id, w FROM visits ORDER BY id
ordered: SELECT id, w FROM visits ORDER BY w DESC, id LIMIT 3
ordered: SELECT id FROM visits ORDER BY age NULLS FIRST, id LIMIT 4 OFFSET 2
ordered: SELECT id, age FROM visits ORDER BY age DESC NULLS LAST, id DESC LIMIT 5
ordered: SELECT id, sex AS s FROM visits ORDER BY s, 1 LIMIT 5
ordered: SELECT id, d, ts, price, ok FROM visits ORDER BY d DESC NULLS FIRST, ts, id LIMIT 6
SELECT DISTINCT sex, ok FROM visits
ordered: SELECT DISTINCT code FROM visits ORDER BY code LIMIT 2
SELECT id, row_number() OVER (ORDER BY id) AS r, avg(w) OVER (PARTITION BY sex) AS m FROM visits
SELECT id, rank() OVER (PARTITION BY code ORDER BY age DESC NULLS LAST, id) AS r FROM visits QUALIFY r <= 2
SELECT v.id, c.label, l.value FROM visits v JOIN labs l ON l.id = v.id LEFT JOIN codes c USING (code)
SELECT _pod, id FROM visits WHERE age > 20
SELECT note, count(*) FROM visits GROUP BY note
SELECT count(note), max(note) FROM visits WHERE note IS NOT NULL OR age > 3
SELECT id, note FROM visits
SELECT age, count(*) FROM visits GROUP BY age HAVING count(*) > 1
SELECT price, d, count(*) FROM visits GROUP BY price, d
SELECT age > 40, count(*) FROM visits GROUP BY age > 40
SELECT sum(x) FROM (SELECT age * 2 AS x FROM visits WHERE ok) t
WITH adult AS (SELECT * FROM visits WHERE age >= 18) SELECT sex, count(*) FROM adult GROUP BY sex
SELECT 1 + 1 AS two, 'x' AS x
SELECT count(*) FROM visits JOIN labs ON visits.age = labs.id
SELECT median(w) FROM visits
SELECT count(DISTINCT sex) FROM visits
SELECT string_agg(sex, ',') FROM visits
SELECT c.label, count(v.id) FROM codes c LEFT JOIN visits v ON v.code = c.code GROUP BY c.label
SELECT count(*) FROM visits WHERE age > (SELECT avg(age) FROM visits)
SELECT sex, count(*) FROM visits GROUP BY sex UNION ALL SELECT kind, count(*) FROM labs GROUP BY kind
SELECT avg(d) FROM visits
SELECT sex, 'all' AS what, count(*) FROM visits GROUP BY ALL
SELECT any_value(sex) FROM visits
-- found by DuckDB's public test files
SELECT * FROM labs a LEFT JOIN labs b ON a.value < b.value AND a.kind <> b.kind
SELECT * FROM visits WHERE age = (SELECT min(age) FROM visits AS a WHERE a.code = visits.code)
SELECT *, id + 1 FROM visits SEMI JOIN labs ON visits.age > labs.value
SELECT sum(small) FILTER (WHERE age < (SELECT 50)) FROM visits GROUP BY sex
SELECT 50 > ANY (SELECT age FROM visits), 3 <= ALL (SELECT id FROM labs)
SELECT CASE WHEN 1 IN (SELECT (SELECT max(age))) THEN 2 END AS x FROM visits
SELECT argmin(id, id) OVER (PARTITION BY sex), sum(id::HUGEINT) OVER () FROM visits
ordered: SELECT id + 1 AS k FROM visits UNION SELECT id + 1 AS l FROM labs ORDER BY id + 1
SELECT sex, string_agg(code ORDER BY id), first(age ORDER BY id DESC) FROM visits GROUP BY sex
SELECT group_concat(code, '|' ORDER BY id) FILTER (WHERE age > 9), sum(w ORDER BY id) FROM visits
SELECT id, (SELECT s.id FROM (SELECT * FROM labs WHERE labs.id = visits.id) s LIMIT 1) AS l FROM visits
SELECT sum(age) FROM visits WHERE 5 IN (SELECT * FROM (SELECT id FROM labs) AS l)
SELECT visits.* FROM visits CROSS JOIN visits AS g
SELECT *, (SELECT min(value) FROM labs) AS n FROM visits AS t
SELECT * FROM labs v WHERE value > (SELECT avg(b.value) FROM labs b WHERE b.kind = v.kind)
SELECT v.*, labs._pod FROM visits v, labs
SELECT count(*) FROM (SELECT big AS w FROM visits AS a) AS visits JOIN visits AS codes ON price > 1
SELECT upper(x) AS price, max(n) FROM (SELECT sex AS x, age AS n FROM visits) t GROUP BY price
SELECT sex AS price, max(x) FROM (SELECT age AS x, sex FROM visits) t GROUP BY price
ordered: SELECT -x AS x, id FROM (SELECT age AS x, id FROM visits) t ORDER BY x + 1, id
ordered: SELECT -v.age AS age, v.code, count(*) FROM visits v JOIN visits w ON v.code = w.code GROUP BY v.age, v.code ORDER BY v.age + 1, v.code
ordered: SELECT e.id, e.value FROM labs AS e JOIN visits AS c ON e.id = c.id ORDER BY id, value
SELECT sum(CASE WHEN age > 10 THEN '1.5' ELSE 0 END) FROM visits
SELECT sum(CASE WHEN age > 10 THEN 1 ELSE 0.0 END), sum(CASE WHEN age > 10 THEN price ELSE 0 END), sum(CASE WHEN age > 10 THEN f ELSE 0 END) FROM visits
SELECT v.sex, v.ok, count(*) FROM visits v SEMI JOIN visits w ON v.price = w.price GROUP BY ROLLUP ((v.sex), v.ok)
SELECT v.sex AS h1, v.code AS h0, count(*) FROM visits v JOIN visits w ON v.code = w.code GROUP BY h1, h0 HAVING h0 = 'a'
SELECT count(*) FROM visits v WHERE EXISTS (SELECT nosuch FROM labs l WHERE l.id = v.id)
SELECT count(*) FROM visits v WHERE (SELECT entropy(kind) FROM labs l WHERE l.id = v.id) = 0
SELECT count(*) FROM visits v WHERE (SELECT count(*) + 1 FROM labs l WHERE l.id = v.id) = 1
SELECT sum(CASE WHEN v.f::VARCHAR = '-0.0' AND l.value > 1 THEN 1 ELSE 0 END), count(*) FROM visits v, labs l
SELECT count(*) FROM visits v JOIN visits w ON v.code = w.code WHERE v.f || w.sex = '-0.0f'
SELECT count(*) FROM visits WHERE f::VARCHAR IN (SELECT f::VARCHAR FROM visits WHERE age > 10)
SELECT count(*) FROM visits WHERE age > (SELECT age FROM visits)
SELECT count(*) FROM visits WHERE age > (SELECT age FROM visits WHERE false)
SELECT c.label, count(*), count(v.id), count(l.id), sum(v.age) FROM codes c, visits v FULL JOIN labs l ON v.id = l.id GROUP BY c.label
SELECT count(*) FROM visits AS g WHERE 3 < (SELECT * FROM (SELECT count(*) AS ok FROM visits AS t WHERE g.small < t.small) AS s)
SELECT count(*) FROM visits AS g LEFT JOIN codes ON g.code = codes.label AND d > DATE '2020-02-10' JOIN visits ON g.id = visits.id
-- derived tables that are more than groups of a local key
SELECT count(*) FROM (SELECT id, count(*) AS n FROM labs GROUP BY id HAVING count(*) > 1) t
SELECT count(*), sum(n) FROM (SELECT id, count(*) AS n FROM labs GROUP BY id ORDER BY n DESC, id LIMIT 3) t
SELECT count(*) FROM (SELECT id, count(*) AS n FROM labs GROUP BY id ORDER BY id OFFSET 2) t
SELECT sum(n) FROM (SELECT DISTINCT n FROM (SELECT id, count(*) AS n FROM labs GROUP BY id) s) t
SELECT count(*) FROM (SELECT id, count(*) AS n FROM labs GROUP BY id QUALIFY rank() OVER (ORDER BY count(*)) = 1) t
SELECT t.id, t.n, v.age FROM visits v JOIN (SELECT id, count(*) AS n FROM labs GROUP BY id HAVING count(*) > 1) t ON t.id = v.id
-- Groups and rows that meet a public table elsewhere in the statement.
SELECT sum(v.price) FROM visits v, codes c WHERE c.code = v.code AND c.weight > 1 AND v.w < (SELECT avg(w) FROM visits x WHERE x.code = c.code)
SELECT count(*) FROM visits v, codes c WHERE c.code = v.code AND c.weight < 3 AND (SELECT count(x.w) FROM visits x WHERE x.code = c.code) < 8
SELECT v.code, count(*) FROM visits v, codes c WHERE c.code = v.code AND c.label = 'alpha' AND v.age >= (SELECT min(age) FROM visits x WHERE x.code = v.code AND x.sex = v.sex) GROUP BY v.code
SELECT c.code, g.n FROM codes c LEFT JOIN (SELECT code, count(*) AS n FROM visits GROUP BY code) g ON g.code = c.code WHERE c.weight > 1
SELECT c.code, g.n FROM codes c LEFT JOIN (SELECT code, count(*) AS n FROM visits GROUP BY code) g ON g.code = c.code AND c.weight > 1
SELECT c.code FROM codes c ANTI JOIN (SELECT code FROM visits WHERE ok GROUP BY code) g ON g.code = c.code AND c.weight < 3
SELECT c.code FROM codes c ANTI JOIN (SELECT code FROM visits WHERE ok GROUP BY code) g ON g.code = c.code WHERE c.weight < 3
SELECT c.code FROM codes c SEMI JOIN (SELECT code FROM visits WHERE ok GROUP BY code) g ON g.code = c.code WHERE c.weight < 3
SELECT g.code, g.n, c.label FROM (SELECT code, count(*) AS n FROM visits GROUP BY code) g LEFT JOIN codes c ON g.code = c.code AND c.weight > 1
SELECT g.code, g.n, c.label FROM codes c RIGHT JOIN (SELECT code, count(*) AS n FROM visits GROUP BY code) g ON g.code = c.code AND c.weight > 1
SELECT g.code, g.n, c.label FROM codes c FULL JOIN (SELECT code, count(*) AS n FROM visits GROUP BY code) g ON g.code = c.code AND c.weight > 1
SELECT g.k, g.n FROM codes c, (SELECT code, count(*) AS n FROM visits GROUP BY code) g(k, n) WHERE g.k = c.code AND c.weight > 1
SELECT g.code, g.n FROM codes c, (SELECT 'a' AS code, count(*) AS n FROM visits GROUP BY code) g WHERE g.code = c.code AND c.weight > 0
SELECT g.n, count(*) FROM codes c, (SELECT upper(code) AS code, count(*) AS n FROM visits GROUP BY upper(code)) g WHERE lower(g.code) = c.code AND c.weight > 1 GROUP BY g.n
SELECT g.n FROM codes c, (SELECT n % 2 AS code, max(n) AS n FROM (SELECT code, count(*) AS n FROM visits GROUP BY code) GROUP BY n % 2) g WHERE g.code = c.weight AND c.weight > 1
SELECT c.weight, g.n FROM codes c JOIN (SELECT small, count(*) AS n FROM visits GROUP BY small) g ON g.small = c.weight WHERE c.label = 'alpha'
SELECT c.weight, g.n FROM codes c JOIN (SELECT f, count(*) AS n FROM visits GROUP BY f) g ON g.f = c.weight - 1 WHERE c.weight < 3
SELECT c.code, d.weight, g.n FROM codes c, codes d, (SELECT code, count(*) AS n FROM visits GROUP BY code) g WHERE g.code = c.code AND c.code = d.code AND d.weight < 3
SELECT c.code, g.n FROM codes c LEFT JOIN codes d ON c.code = d.code AND d.weight < 3 LEFT JOIN (SELECT code, count(*) AS n FROM visits GROUP BY code) g ON g.code = d.code
SELECT c.code, g.n FROM codes c SEMI JOIN codes d ON c.code = d.code AND d.weight < 3 LEFT JOIN (SELECT code, count(*) AS n FROM visits GROUP BY code) g ON g.code = c.code
SELECT c.code, g.n FROM codes c ANTI JOIN codes d ON c.code = d.code AND d.weight < 3 LEFT JOIN (SELECT code, count(*) AS n FROM visits GROUP BY code) g ON g.code = c.code
SELECT c.label, g.n FROM codes c, (SELECT v.code, l.kind, count(*) AS n FROM visits v, labs l WHERE v.id = l.id GROUP BY v.code, l.kind) g WHERE g.code = c.code AND c.weight < 3
SELECT c.label, sum(g.s) FROM codes c, (SELECT code, ok, sum(age) AS s FROM visits GROUP BY GROUPING SETS ((code), (ok))) g WHERE g.code = c.code AND c.weight < 3 GROUP BY c.label
SELECT c.label, g.s FROM codes c, (SELECT code, sum(age) AS s, row_number() OVER (ORDER BY code) AS place FROM visits GROUP BY code) g WHERE g.code = c.code AND g.place = 1 AND c.weight < 3
SELECT c.label, g.s FROM codes c, (SELECT code, sum(age) AS s FROM visits GROUP BY code HAVING count(*) > 2) g WHERE g.code = c.code AND c.weight < 3
SELECT c.label, g.s FROM codes c, (SELECT code, sum(age) AS s FROM visits GROUP BY code ORDER BY code DESC LIMIT 2) g WHERE g.code = c.code AND c.weight < 3
SELECT c.code, g.n FROM codes c LEFT JOIN (SELECT code, count(*) AS n FROM visits GROUP BY code) g ON g.code = c.code RIGHT JOIN codes d ON d.code = c.code AND c.weight < 3
-- Groups of public tables among public tables, and beside rows of the pods.
SELECT c.code, c.weight FROM codes c WHERE c.weight = (SELECT min(weight) FROM codes d WHERE d.label = c.label)
SELECT c.code, (SELECT 1) FROM codes c WHERE c.weight > (SELECT avg(weight) FROM codes d WHERE d.label = c.label OR d.weight < 2)
ordered: SELECT c.code, g.n, g.s FROM codes c LEFT JOIN (SELECT label, count(*) AS n, sum(weight) AS s FROM codes GROUP BY label) g ON g.label = c.label ORDER BY c.code DESC LIMIT 3
SELECT g.label, g.n, c.code FROM (SELECT label, count(*) AS n FROM codes GROUP BY label) g LEFT JOIN codes c ON g.label = c.label AND c.weight > 1
SELECT g.label, g.n, c.code FROM codes c RIGHT JOIN (SELECT label, count(*) AS n FROM codes GROUP BY label) g ON g.label = c.label AND c.weight > 1
SELECT g.label, g.n, c.code FROM (SELECT label, count(*) AS n FROM codes GROUP BY label) g FULL JOIN codes c ON g.label = c.label AND c.weight > 1
SELECT g.n, count(*), sum(c.weight) FROM codes c, (SELECT d.label, count(*) AS n FROM codes d, codes e WHERE d.weight < e.weight GROUP BY d.label) g WHERE g.label = c.label AND c.weight < 3 GROUP BY g.n HAVING count(*) > 0
SELECT c.code FROM codes c WHERE c.label IN (SELECT label FROM codes GROUP BY label HAVING count(*) > 1)
SELECT c.code FROM codes c ANTI JOIN (SELECT label FROM codes WHERE weight > 1 GROUP BY label) g ON g.label = c.label
SELECT count(*) FROM (SELECT label, count(*) AS n FROM codes GROUP BY label) g
SELECT g.s, count(*) FROM visits v JOIN (SELECT code, sum(weight / 3) AS s FROM codes GROUP BY code) g ON g.code = v.code GROUP BY g.s
SELECT sum(v.age * g.n), count(*) FROM visits v LEFT JOIN (SELECT code, count(*) AS n FROM codes WHERE weight > 1 GROUP BY code) g ON g.code = v.code
SELECT c.code, count(DISTINCT d.label), avg(d.weight) FROM codes c LEFT JOIN codes d ON d.weight <= c.weight GROUP BY c.code
SELECT c.label, h.m FROM codes c JOIN (SELECT max(n) AS m, label FROM (SELECT label, code, count(*) AS n FROM codes GROUP BY label, code) GROUP BY label) h ON h.label = c.label
SELECT c.code, g.n FROM codes c JOIN (SELECT label AS c, count(*) AS n FROM codes GROUP BY label) g ON g.c = c.label WHERE c.weight > 1
SELECT g.a FROM codes c JOIN (SELECT label, count(*) FROM codes GROUP BY label) g(a, b) ON g.a = c.label WHERE c.weight > 1
