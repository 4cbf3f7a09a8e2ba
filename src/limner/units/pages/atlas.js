'use strict';
const root=document.documentElement,saved=(()=>{try{return localStorage.limnerTheme}catch{}})();
if(saved)root.dataset.theme=saved;
document.getElementById('theme')?.addEventListener('click',()=>{
const dark=root.dataset.theme?root.dataset.theme==='dark':matchMedia('(prefers-color-scheme:dark)').matches;
root.dataset.theme=dark?'light':'dark';try{localStorage.limnerTheme=root.dataset.theme}catch{}});
const box=document.getElementById('data');
if(box){const D=JSON.parse(box.textContent),grid=document.querySelector('.grid'),
dlg=document.querySelector('dialog'),out=document.getElementById('unit'),
esc=t=>String(t).replace(/[&<>"]/g,c=>({'&':'&amp;','<':'&lt;','>':'&gt;','"':'&quot;'})[c]);
let now=null;
const hist=h=>{const m=Math.log1p(Math.max(...h)),w=100/h.length;
return '<svg class=hist viewBox="0 0 100 40" preserveAspectRatio=none role=img aria-label="Histogram of activations">'+
h.map((n,i)=>{const y=m?38*Math.log1p(n)/m:0;return `<rect ${i>=D.zero?'class=pos':''} x=${i*w} y=${40-y} width=${w*.82} height=${y} />`}).join('')+'</svg>'};
function show(n){const u=D.units[n];if(!u)return;now=n;
const photos=u.p.map((p,i)=>{const f=D.photos[p],b=u.b[i],pc=v=>(100*v).toFixed(2)+'%';
return `<figure><div class=p><div class=in><img loading=lazy alt="" src="photos/${p}.webp"><i style="left:${pc(b[0])};top:${pc(b[1])};width:${pc(b[2]-b[0])};height:${pc(b[3]-b[1])}"></i></div></div><figcaption title="${esc(f)}"><span>${esc(f)}</span><b>${u.v[i]}</b></figcaption></figure>`}).join('');
out.innerHTML=`<header><h1>${esc(D.layer)} · unit ${n}</h1>
<button class=tool data-go=-1 aria-label="Previous unit">←</button><button class=tool data-go=1 aria-label="Next unit">→</button>
<button class=tool data-close aria-label="Close">Close</button></header>
<div class=two><img class=big alt="Nine patches" src="${D.dir}/${n}.webp"><div><h2>Where it saw them, and how strongly it answered</h2><div class=photos>${photos}</div></div></div>
${u.x?`<div class=why><h2>What in the patch: patch, guided backpropagation, deconvnet, gradient, from top to bottom</h2><img alt="Explanations" src="${D.dir}/why-${n}.webp"></div>`:''}
<div class=more><div><h2>Its activations (height: logarithm of the count)</h2>${hist(u.h)}<p class=dim style="margin:4px 0 0;font-size:13px">positive at ${u.a} of places, mean ${u.m}</p></div>
${u.c?`<div><h2>Classes it prefers (selectivity ${u.s})</h2>${u.c.map(c=>esc(c)).join('<br>')}</div>`:''}
${u.l.length?`<div><h2>Units that answer alike</h2><div class=chips>${u.l.map(l=>`<a href="${esc(l[2])}#${l[1]}" data-same="${l[0]===D.layer?l[1]:''}">${esc(l[0])} ${l[1]} <span class=dim>${l[3]}</span></a>`).join('')}</div></div>`:''}
${u.i?`<div><h2>Its ideal picture (activation ${u.i})</h2><img alt="Ideal picture" style="width:150px;border-radius:6px;image-rendering:auto" src="${D.dir}/ideal-${n}.webp"></div>`:''}</div>`;
if(!dlg.open)dlg.showModal();dlg.scrollTop=0;history.replaceState(null,'','#'+n)}
const go=d=>{const c=[...grid.children].map(e=>+e.dataset.n),i=c.indexOf(now);show(c[(i+d+c.length)%c.length])};
grid.addEventListener('click',e=>{const b=e.target.closest('.unit');if(b)show(+b.dataset.n)});
dlg.addEventListener('click',e=>{if(e.target===dlg||e.target.closest('[data-close]'))dlg.close();
const g=e.target.closest('[data-go]');if(g)go(+g.dataset.go);
const s=e.target.closest('[data-same]');if(s&&s.dataset.same!==''){e.preventDefault();show(+s.dataset.same)}});
dlg.addEventListener('close',()=>history.replaceState(null,'',location.pathname));
addEventListener('keydown',e=>{if(!dlg.open)return;if(e.key==='ArrowRight')go(1);if(e.key==='ArrowLeft')go(-1)});
document.getElementById('sort').addEventListener('change',e=>{const k=e.target.value;
[...grid.children].sort((a,b)=>k==='n'?a.dataset.n-b.dataset.n:b.dataset[k]-a.dataset[k]).forEach(c=>grid.append(c))});
document.getElementById('find').addEventListener('change',e=>show(+e.target.value));
const first=()=>{const n=parseInt(location.hash.slice(1));if(!isNaN(n))show(n)};
addEventListener('hashchange',first);first()}
